"""CLIP-mini put to use: its cells, its texts, and how well cells are named without any mask."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from stseg.checkpoint import read_state_dict
from stseg.modeling.encoders import add_mini_configs, embed_cells
from stseg.small_world.names import CLASS_NAMES, COLOURS, PATTERNS, STUFF_NAMES, UNSEEN_NAMES
from stseg.small_world.scenes import SPLIT_SEEDS, render

#: Architectures, and what their files are called.
MODELS = {"convnext_mini": "clip", "vit_mini": "clip_vit"}
#: Blocks of the ViT in front of the stream that its cells are read from: a sixth, as in EBSeg.
VALUES_FROM = 1
TEMPLATES = tuple(f("{}") for f in open_clip.OPENAI_IMAGENET_TEMPLATES)
_TOKENIZER = open_clip.get_tokenizer("ViT-B-32")


def build_model(name: str = "convnext_mini") -> nn.Module:
    """A CLIP-mini with fresh weights.

    Raises:
        ValueError: for a name that is not one of `MODELS`.
    """
    if name not in MODELS:
        raise ValueError(f"--model: expected {' or '.join(MODELS)}, got {name!r}.")
    add_mini_configs()
    return open_clip.create_model(name)


def load_model(weights: Path, device: torch.device) -> nn.Module:
    """A CLIP-mini for use, with the weights of an exported file, whichever it holds."""
    add_mini_configs()
    name = (
        "vit_mini" if "visual.class_embedding" in read_state_dict(str(weights)) else "convnext_mini"
    )
    return open_clip.create_model(name, pretrained=str(weights), device=device).eval()


def has_class_token(clip: nn.Module) -> bool:
    """Whether the image tower is the ViT."""
    return hasattr(clip.visual, "class_embedding")


@lru_cache(maxsize=200_000)
def _tokens_of(text: str) -> tuple[int, ...]:
    return (_TOKENIZER.sot_token_id, *_TOKENIZER.encode(text), _TOKENIZER.eot_token_id)


def tokenize(texts: list[str]) -> Tensor:
    """Token ids (len(texts), L) int64, cut to the longest text, padded with zeros."""
    rows = [_tokens_of(text) for text in texts]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return tokens


def encode_texts(clip: nn.Module, texts: list[str]) -> Tensor:
    """Unit text embeddings (len(texts), C); exact, since the text tower is causal."""
    tokens = tokenize(texts).to(clip.positional_embedding.device)
    length = tokens.shape[1]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    # The fused attention of torch is ten times as slow as plain matrices for heads this narrow.
    with sdpa_kernel(SDPBackend.MATH):
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
    ends = x[torch.arange(len(texts), device=x.device), tokens.argmax(-1)]
    return F.normalize((ends @ clip.text_projection).float(), dim=-1)


def encode_images(clip: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings of pictures, (B, C), and of their cells, (B, h, w, C).

    Of a ConvNeXt head norm and projection at every position, and the mean of the cells; of a ViT
    the patches of the second stream, which EBSeg reads its dense map from, and the class token.

    Args:
        clip: a CLIP-mini.
        images: (B, 3, H, W), normalised.
    """
    if has_class_token(clip):
        return embed_cells(clip.visual, images, VALUES_FROM)
    trunk = clip.visual.trunk
    x = trunk.head.norm(trunk.forward_features(images)).permute(0, 2, 3, 1)
    cells = F.normalize(clip.visual.head(x).float(), dim=-1)
    return F.normalize(cells.flatten(1, 2).mean(1), dim=-1), cells


def encode_cells(clip: nn.Module, images: Tensor) -> Tensor:
    """Unit embedding (B, h, w, C) of every cell, see `encode_images`."""
    return encode_images(clip, images)[1]


def to_input(images: np.ndarray, device: torch.device) -> Tensor:
    """(B, H, W, 3) uint8 RGB to the normalised (B, 3, H, W) that CLIP takes."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255.0
    mean = x.new_tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = x.new_tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def name_embeddings(clip: nn.Module, names: tuple[str, ...]) -> Tensor:
    """Unit (T, C): mean over the 80 templates of each name."""
    rows = [encode_texts(clip, [t.format(name) for t in TEMPLATES]).mean(0) for name in names]
    return F.normalize(torch.stack(rows), dim=-1)


@torch.no_grad()
def evaluate(clip: nn.Module, split: str = "dev", count: int = 100) -> dict[str, float]:
    """Dense zero-shot figures in percent: every cell takes the nearest of all class names.

    Returns:
        mIoU of all, seen, unseen, stuff and thing classes, pixel accuracy inside stuff, things and
        unseen things, and the share of cells, wholly stuff or mostly thing, that are named rightly.
    """
    device = clip.logit_scale.device
    embeds = name_embeddings(clip, CLASS_NAMES)
    classes = len(CLASS_NAMES)
    counts = np.zeros((classes, classes), np.int64)
    cells_right = np.zeros((classes, 2), np.int64)
    for index in range(count):
        scene = render(SPLIT_SEEDS[split], index)
        scores = encode_cells(clip, to_input(scene.image[None], device)) @ embeds.T
        scores = scores.permute(0, 3, 1, 2)
        grid = scores.argmax(1)[0].cpu().numpy()
        full = F.interpolate(scores, scene.label_map.shape, mode="bilinear")[0].argmax(0)
        pairs = scene.label_map.astype(np.int64) * classes + full.cpu().numpy()
        counts += np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)
        side = scene.label_map.shape[0] // grid.shape[0]
        for (row, column), guess in np.ndenumerate(grid):
            patch = scene.label_map[
                row * side : (row + 1) * side, column * side : (column + 1) * side
            ]
            ids = np.bincount(patch.ravel(), minlength=classes)
            if ids.max() >= 0.6 * patch.size:
                cells_right[ids.argmax()] += (ids.argmax() == guess, 1)
    return summarise(counts, cells_right)


@torch.no_grad()
def attribute_accuracy(clip: nn.Module, split: str = "dev", count: int = 200) -> dict[str, float]:
    """Attributes of single things in percent: the noun is given, the look is asked for.

    Each picture of one thing is compared, by the soft maximum over its cells as in training, with
    all 8 x 4 phrases such as "striped red star" of its noun.

    Returns:
        Share of pictures whose colour, pattern and both are right; chance is 12.5, 25 and 3.1.
    """
    device = clip.logit_scale.device
    looks = [(colour, pattern) for colour in COLOURS for pattern in PATTERNS]
    right = np.zeros(3)
    asked = 0
    for index in range(count):
        scene = render(SPLIT_SEEDS[split], index, 64, "object")
        thing = next((p for p in scene.phrases if p.colour), None)
        if thing is None:
            continue
        texts = [f"a photo of a {pattern} {colour} {thing.noun}." for colour, pattern in looks]
        cells = encode_cells(clip, to_input(scene.image[None], device)).flatten(0, 2)
        logits = clip.logit_scale.exp() * (cells @ encode_texts(clip, texts).T)
        best = int(logits.logsumexp(0).argmax())
        hits = (looks[best][0] == thing.colour, looks[best][1] == thing.pattern)
        right += (*hits, all(hits))
        asked += 1
    shares = np.round(100 * right / max(asked, 1), 1)
    return dict(zip(("colour", "pattern", "colour_and_pattern"), shares.tolist(), strict=True))


def summarise(counts: np.ndarray, cells_right: np.ndarray) -> dict[str, float]:
    """Percentages by group of classes.

    Args:
        counts: (T, T) pixels, true class by named class.
        cells_right: (T, 2) cells named rightly, and all cells, by true class.
    """
    iou = np.diag(counts) / np.maximum(counts.sum(0) + counts.sum(1) - np.diag(counts), 1)
    unseen = np.isin(CLASS_NAMES, UNSEEN_NAMES)
    stuff = np.isin(CLASS_NAMES, STUFF_NAMES)
    groups = {"all": stuff | ~stuff, "seen": ~unseen, "unseen": unseen, "stuff": stuff}
    groups |= {"things": ~stuff, "unseen_things": unseen & ~stuff, "unseen_stuff": unseen & stuff}
    figures = {f"miou_{name}": 100 * float(iou[rows].mean()) for name, rows in groups.items()}
    for name, rows in groups.items():
        right = np.diag(counts)[rows].sum() / max(counts[rows].sum(), 1)
        figures[f"accuracy_{name}"] = 100 * float(right)
        right, asked = cells_right[rows].sum(0)
        figures[f"cells_{name}"] = 100 * float(right / max(asked, 1))
    return {k: round(v, 1) for k, v in figures.items()}
