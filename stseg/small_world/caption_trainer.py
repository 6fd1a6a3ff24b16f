"""Train CLIP-mini on image-caption pairs of the small world, on a CPU or a GPU.

The training reads captions only; no mask is used. It starts with pictures of one large thing and
goes on with scenes. Every step draws from a generator of its own, seeded by (seed, step), so a run
that was killed goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.small_world.caption_cells import cell_label_loss, matching_loss, pool_cells
from stseg.small_world.clip_judging import (
    TEMPLATES,
    attribute_accuracy,
    build_model,
    encode_cells,
    encode_texts,
    evaluate,
    load_model,
    to_input,
)
from stseg.small_world.names import CLASS_NAMES, COLOURS, PATTERNS
from stseg.small_world.pairs import UNSAID, PairPool, build_pool, match_phrases
from stseg.small_world.recipes import CaptionRecipe
from stseg.small_world.training import StepwiseTrainer, run_training
from stseg.utils import write_atomically


def in_template(text: str, rng: np.random.Generator) -> str:
    """The text in one of the 80 templates."""
    return TEMPLATES[rng.integers(len(TEMPLATES))].format(text)


def _phrase_words(code: np.ndarray) -> str:
    noun, colour, pattern = (int(c) for c in code)
    words = [PATTERNS[pattern]] if pattern != UNSAID else []
    words += [list(COLOURS)[colour]] if colour != UNSAID else []
    return " ".join([*words, CLASS_NAMES[noun]])


def _draw_phrases(said: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Phrases with attributes from the captions, each with a twin that differs in one attribute."""
    codes = np.concatenate(said)
    codes = np.unique(codes[(codes[:, 1:] != UNSAID).any(1)], axis=0)
    codes = codes[rng.permutation(len(codes))[: count // 2]]
    twins = codes.copy()
    for twin in twins:
        column = int(rng.choice(np.flatnonzero(twin[1:] != UNSAID))) + 1
        twin[column] = rng.integers(len(COLOURS) if column == 1 else len(PATTERNS))
    return np.unique(np.concatenate([codes, twins]), axis=0)


def caption_losses(
    clip: nn.Module,
    pool: PairPool,
    rows: np.ndarray,
    recipe: CaptionRecipe,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """The losses of one batch.

    Args:
        clip: the model.
        pool: pictures with their captions.
        rows: (B,) indices into the pool.
        recipe: sizes.
        rng: draws flips, templates and phrases.
    """
    device = clip.logit_scale.device
    flip = rng.random(len(rows)) < 0.5
    images = pool.images[rows]
    images[flip] = images[flip, :, ::-1]
    said = [pool.said[i] for i in rows]
    phrases = _draw_phrases(said, recipe.phrases, rng)
    texts = [in_template(name, rng) for name in CLASS_NAMES]
    texts += [in_template(_phrase_words(code), rng) for code in phrases]
    texts += [pool.captions[i] for i in rows]
    with torch.autocast(device.type, torch.bfloat16):
        cells = encode_cells(clip, to_input(images, device)).flatten(1, 2)
        embeds = encode_texts(clip, texts)
    scale = clip.logit_scale.exp().clamp(max=50.0)
    names = len(CLASS_NAMES)
    logits = scale * (cells @ embeds[: names + len(phrases)].T)
    named = torch.from_numpy(pool.named[rows]).to(device)
    top_share = 0.2 if images.shape[1] == recipe.object_size else 0.06
    some_name, every_name = cell_label_loss(logits[..., :names], named, top_share)
    true, unknown = (torch.from_numpy(m).to(device) for m in match_phrases(said, phrases))
    phrase = matching_loss(pool_cells(logits[..., names:]), true, unknown)
    pictures = F.normalize(cells.mean(1), dim=-1)
    captions = [pool.captions[i] for i in rows]
    same = torch.tensor([[a == b for b in captions] for a in captions], device=device)
    scores = scale * (pictures @ embeds[names + len(phrases) :].T)
    caption = matching_loss(scores, same, torch.zeros_like(same))
    return {
        "some_name": some_name,
        "every_name": every_name,
        "phrase": 0.5 * phrase,
        "caption": 0.25 * caption,
    }


def build_adamw(clip: nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW; no decay for vectors and for the token table, of which most rows are never used."""
    plain = [p for n, p in clip.named_parameters() if p.ndim < 2 or "embedding" in n]
    decayed = [p for n, p in clip.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.05}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)


def lr_factor(step: int, steps: int, warmup: int = 150) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class CaptionTrainer(StepwiseTrainer):
    """One run: the model and the two pools of pictures."""

    def __init__(self, recipe: CaptionRecipe, device: torch.device | str, workers: int = 2):
        torch.manual_seed(recipe.seed)
        clip = build_model().to(device).train()
        clip.visual.to(memory_format=torch.channels_last)
        with torch.no_grad():
            clip.logit_scale.fill_(math.log(12.0))
        super().__init__("clip", clip, build_adamw(clip, recipe.lr), recipe)
        kinds = ("object",) * 7 + ("stuff",)
        self.objects = build_pool(recipe.objects, recipe.object_size, kinds, recipe.seed, workers)
        self.scenes = build_pool(recipe.scenes, recipe.scene_size, ("scene",), recipe.seed, workers)

    def run_step(self) -> dict[str, float]:
        """One update; returns the losses."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, self.step])
        early = self.step < recipe.object_share * recipe.steps
        pool = self.objects if early or rng.random() < recipe.mixed_share else self.scenes
        rows = rng.choice(len(pool), min(recipe.batch, len(pool)), replace=False)
        losses = caption_losses(self.model, pool, rows, recipe, rng)
        lr = recipe.lr * lr_factor(self.step, recipe.steps)
        return self.update(losses, lr, average_from=0, highest_keep=0.998)


def export_weights(clip: nn.Module, path: Path) -> None:
    """The float16 state dict that open_clip loads as a local pretrained file."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in clip.state_dict().items()}
    state = {k: v.contiguous() for k, v in state.items()}
    write_atomically(path, lambda file: torch.save(state, file))


def train(
    recipe: CaptionRecipe,
    out: Path,
    device: torch.device | str,
    eval_period: int,
    count: int,
    workers: int = 2,
) -> None:
    """Run or resume ``recipe`` in the folder ``out``: last.pt, log.jsonl, clip_mini.pt."""
    trainer = CaptionTrainer(recipe, device, workers)

    def judge() -> dict[str, float]:
        export_weights(trainer.average, out / "clip_mini.pt")
        scale = trainer.model.logit_scale.exp().item()
        return {"scale": scale, **evaluate(trainer.average, "dev", count)}

    run_training(trainer, recipe.steps, out, device, eval_period, judge)


def judge_weights(args: argparse.Namespace) -> dict[str, float]:
    """The figures of the weights that the flags name."""
    clip = load_model(args.weights, torch.device(args.device))
    figures = evaluate(clip, args.split, args.count)
    return figures | attribute_accuracy(clip, args.split, args.count)
