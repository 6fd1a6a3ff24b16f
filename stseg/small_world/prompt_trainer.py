"""The training behind `stseg.small_world.sam_training`, whose head says what it learns from."""

from __future__ import annotations

import argparse
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.engine import StepwiseTrainer, build_adamw, lr_factor
from stseg.modeling.encoders import build_sam_mini, create_sam
from stseg.small_world.recipes import PromptRecipe
from stseg.small_world.sam_judging import evaluate, predict_masks
from stseg.small_world.sam_prompts import (
    KINDS,
    ScenePool,
    build_scene_pool,
    degrade,
    draw_box,
    draw_parts,
    draw_picture,
    draw_points,
    mask_prompt,
)


@dataclass(frozen=True)
class Batch:
    """One step's pictures and, for each kind of prompt, one mask of every picture.

    Attributes:
        images: (B, 3, S, S) float32 RGB in [0, 255].
        label_maps: (B, low, low) int64; only what differs within a picture has a meaning.
        targets: per entry of ``KINDS`` (B, 1, low, low) float32 in [0, 1], the true masks.
        prompts: per entry of ``KINDS`` what ``PromptEncoder`` takes: points, boxes, masks.
    """

    images: Tensor
    label_maps: Tensor
    targets: list[Tensor]
    prompts: list[dict]


def _draw_prompt(
    kind: str, truth: np.ndarray, rough: np.ndarray, low: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    source = rough if "mask" in kind or rng.random() < 0.4 else truth
    prompt = {}
    if "points" in kind:
        prompt["xy"], prompt["labels"] = draw_points(source, truth, rng)
    if "box" in kind:
        prompt["boxes"] = draw_box(source, rng)
    if "mask" in kind:
        prompt["masks"] = mask_prompt(rough, low, rng)
    return prompt


def _pack_prompts(group: list[dict[str, np.ndarray]], device: torch.device) -> dict:
    parts = {n: torch.from_numpy(np.stack([p[n] for p in group])).to(device) for n in group[0]}
    points = (parts["xy"], parts["labels"]) if "xy" in parts else None
    return {"points": points, "boxes": parts.get("boxes"), "masks": parts.get("masks")}


def draw_batch(
    pool: ScenePool, recipe: PromptRecipe, step: int, low: int, device: torch.device
) -> Batch:
    """The batch of a step; the same arguments give the same batch.

    Args:
        pool: scenes.
        recipe: the run; before ``region_steps`` a batch has no prompts.
        step: number of the step.
        low: side of SAM's low-resolution frame.
        device: where the tensors go.
    """
    rng = np.random.default_rng([recipe.seed, step])
    count = recipe.batch if step >= recipe.region_steps else recipe.region_batch
    rows = rng.choice(len(pool), count, replace=len(pool) < count)
    pictures = [draw_picture(pool, row, rng) for row in rows]
    images = torch.from_numpy(np.stack([image for image, _ in pictures])).to(device)
    labels = torch.from_numpy(np.stack([labels for _, labels in pictures])).to(device).long()
    kinds = KINDS if step >= recipe.region_steps else ()
    truths: list[list] = [[] for _ in kinds]
    prompts: list[list] = [[] for _ in kinds]
    for _, label_map in pictures if kinds else ():
        parts = draw_parts(label_map, len(kinds), rng)
        for i, rough in enumerate(degrade(parts, rng)):
            truths[i].append(parts[i][None])
            prompts[i].append(_draw_prompt(kinds[i], parts[i], rough, low, rng))
    targets = [torch.from_numpy(np.stack(masks)).to(device).float() for masks in truths]
    shrink = labels.shape[-1] // low
    return Batch(
        images=images.permute(0, 3, 1, 2).contiguous(),
        label_maps=labels[:, ::shrink, ::shrink],
        targets=[F.adaptive_avg_pool2d(masks, low) for masks in targets],
        prompts=[_pack_prompts(group, device) for group in prompts],
    )


def region_loss(features: Tensor, label_maps: Tensor) -> Tensor:
    """How badly cells of one region agree, against the other regions of the same picture.

    Every cell is told which region it belongs to by its cosine to the regions' mean features.
    No prompt can be copied here, so the image encoder has to look. Regions count alike.

    Args:
        features: (B, D, h, w).
        label_maps: (B, h, w) int64.
    """
    cells = F.normalize(features, dim=1).flatten(2)
    members = F.one_hot(label_maps.flatten(1)).transpose(1, 2).to(cells.dtype)
    sizes = members.sum(2, keepdim=True)
    means = F.normalize(members @ cells.transpose(1, 2), dim=-1)
    logits = (12 * means @ cells).masked_fill(sizes == 0, float("-inf"))
    losses = F.cross_entropy(logits, label_maps.flatten(1), reduction="none")
    weights = 1 / (members * sizes).sum(1).clamp(min=20)
    return (losses * weights).sum() / weights.sum()


def answer_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How far each answer is from the truth.

    Args:
        logits: (N, M, low, low), M answers to N prompts.
        target: (N, 1, low, low) in [0, 1].

    Returns:
        loss (N, M), cross entropy plus dice, and IoU (N, M) of the answers as hard masks.
    """
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    probs = logits.sigmoid()
    common, total = (probs * target).sum((2, 3)), (probs + target).sum((2, 3))
    dice = 1 - (2 * common + 1) / (total + 1)
    with torch.no_grad():
        mine, true = logits > 0, target > 0.5
        union = (mine | true).sum((2, 3)).clamp(min=1)
        overlap = (mine & true).sum((2, 3)) / union
    return 2 * entropy + dice, overlap


def prompt_losses(sam: Sam, embedding: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The losses of the answers: the single one, the best of three, and the foretold IoU."""
    answers = [predict_masks(sam, embedding, **prompt) for prompt in batch.prompts]
    logits = torch.cat([masks for masks, _ in answers])
    foretold = torch.cat([ious for _, ious in answers])
    loss, overlap = answer_losses(logits, torch.cat(batch.targets))
    return {
        "single": 0.5 * loss[:, 0].mean(),
        "best": loss[:, 1:].min(1).values.mean(),
        "others": 0.1 * loss[:, 1:].mean(),  # no answer may be left without any gradient
        "foretold_iou": F.mse_loss(foretold, overlap),
    }


class PromptTrainer(StepwiseTrainer):
    """One run: the model and the pool of scenes."""

    def __init__(self, recipe: PromptRecipe, device: torch.device | str, workers: int = 2):
        torch.manual_seed(recipe.seed)
        sam = build_sam_mini().to(device).train()
        nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)
        free = ("pos", "embed.weight", "token")  # positions and embeddings of prompts
        super().__init__("sam", sam, build_adamw(sam, recipe.lr, recipe.weight_decay, free), recipe)
        self.low = sam.prompt_encoder.mask_input_size[0]
        self.pool = build_scene_pool(recipe.scenes, recipe.seed, workers)
        self._drawer = ThreadPoolExecutor(1)
        self._drawn: dict[int, Future[Batch]] = {}

    def _take_batch(self) -> Batch:
        """The batch of this step; that of the next one is drawn while this one is learned."""
        for step in (self.step, self.step + 1):
            if step not in self._drawn:
                args = (self.pool, self.recipe, step, self.low, self.model.device)
                self._drawn[step] = self._drawer.submit(draw_batch, *args)
        self._drawn = {step: batch for step, batch in self._drawn.items() if step >= self.step}
        return self._drawn.pop(self.step).result()

    def _lr(self) -> float:
        """Warm-up and half a cosine, once for each of the three phases."""
        recipe = self.recipe
        joint = recipe.steps - recipe.joint_steps
        for start, end, lr in (
            (0, recipe.region_steps, recipe.region_lr),
            (recipe.region_steps, joint, recipe.lr),
            (joint, recipe.steps, recipe.joint_lr),
        ):
            if start <= self.step < end:
                return lr * lr_factor(self.step - start, end - start, recipe.warmup)
        raise IndexError(f"step: expected below {recipe.steps}, got {self.step}.")

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        sam, recipe = self.model, self.recipe
        frozen = recipe.region_steps <= self.step < recipe.steps - recipe.joint_steps
        with torch.set_grad_enabled(not frozen):
            embedding = sam.image_encoder((batch.images - sam.pixel_mean) / sam.pixel_std)
        if self.step < recipe.region_steps:
            pixels = sam.mask_decoder.output_upscaling(embedding)
            return {"region": region_loss(pixels, batch.label_maps)}
        return prompt_losses(sam, embedding, batch)

    def run_step(self) -> dict[str, float]:
        """One update; returns the losses."""
        losses = self._losses(self._take_batch())
        # The encoder is done when the decoder begins, so its average must not trail behind.
        return self.update(
            losses, self._lr(), average_from=self.recipe.region_steps, highest_keep=0.995
        )

    def judge(self, count: int) -> dict[str, float]:
        """IoU of the average's answers."""
        return evaluate(self.average, "dev", count)


def judge_weights(args: argparse.Namespace) -> dict[str, float]:
    """The figures of the weights that the flags name."""
    sam = create_sam("mini", str(args.weights)).to(args.device)
    return evaluate(sam, args.split, args.count)
