"""The training behind `stseg.small_world.clip_training`, whose head says what it learns from."""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn

from stseg.engine import StepwiseTrainer, build_adamw, lr_factor
from stseg.small_world.caption_cells import cell_label_loss, matching_loss
from stseg.small_world.clip_judging import (
    MODELS,
    TEMPLATES,
    attribute_accuracy,
    build_model,
    encode_images,
    encode_texts,
    evaluate,
    has_class_token,
    load_model,
    to_input,
)
from stseg.small_world.names import CLASS_NAMES, COLOURS, PATTERNS
from stseg.small_world.pairs import UNSAID, PairPool, build_pool, match_phrases
from stseg.small_world.recipes import CaptionRecipe


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


def _precision(clip: nn.Module, device: torch.device) -> torch.autocast:
    """bf16 for products of matrices, but for a ViT on a CPU, where they are slower in it."""
    slow = device.type == "cpu" and has_class_token(clip)
    return torch.autocast(device.type, torch.bfloat16, enabled=not slow)


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
    with _precision(clip, device):
        pictures, cells = encode_images(clip, to_input(images, device))
        cells = cells.flatten(1, 2)
        embeds = encode_texts(clip, texts)
    scale = clip.logit_scale.exp().clamp(max=50.0)
    names = len(CLASS_NAMES)
    logits = scale * (cells @ embeds[: names + len(phrases)].T)
    named = torch.from_numpy(pool.named[rows]).to(device)
    top_share = 0.2 if images.shape[1] == recipe.object_size else 0.06
    some_name, every_name = cell_label_loss(logits[..., :names], named, top_share)
    true, unknown = (torch.from_numpy(m).to(device) for m in match_phrases(said, phrases))
    best_cells = logits[..., names:].float().logsumexp(1)  # a soft maximum over them
    phrase = matching_loss(best_cells, true, unknown)
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


class CaptionTrainer(StepwiseTrainer):
    """One run: the model and the two pools of pictures."""

    def __init__(self, recipe: CaptionRecipe, device: torch.device | str, workers: int = 2):
        torch.manual_seed(recipe.seed)
        clip = build_model(recipe.model).to(device).train()
        clip.visual.to(memory_format=torch.channels_last)
        with torch.no_grad():
            clip.logit_scale.fill_(math.log(12.0))
        # Most rows of the token table are never used: no decay for them.
        optimizer = build_adamw(clip, recipe.lr, 0.05, ("embedding",))
        super().__init__(MODELS[recipe.model], clip, optimizer, recipe)
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

    def judge(self, count: int) -> dict[str, float]:
        """Dense figures of the average, and the scale of the logits."""
        scale = self.model.logit_scale.exp().item()
        return {"scale": scale, **evaluate(self.average, "dev", count)}


def judge_weights(args: argparse.Namespace) -> dict[str, float]:
    """The figures of the weights that the flags name."""
    clip = load_model(args.weights, torch.device(args.device))
    figures = evaluate(clip, args.split, args.count)
    return figures | attribute_accuracy(clip, args.split, args.count)
