"""SAM-mini put to use: masks for prompts of many pictures, and how good they are."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from stseg.small_world.sam_looks import change_look
from stseg.small_world.sam_prompts import (
    KINDS,
    beside,
    box_of,
    connected_parts,
    degrade,
    iou,
    peaks,
    point_slots,
)
from stseg.small_world.scenes import SPLIT_SEEDS, render

STRENGTH = 10.0  # of mask prompts, logits


def predict_masks(
    sam: Sam,
    embedding: Tensor,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One prompt for every picture of a batch, with the stock decoder.

    The decoder repeats one embedding for all prompts. Here each prompt has its own, so the
    embeddings go in with the dense prompts, to which the decoder adds the other anyway.

    Args:
        sam: SAM.
        embedding: (N, C, n, n) of `sam.image_encoder`.
        points: xy (N, P, 2) in pixels and labels (N, P), or None.
        boxes: (N, 4) XYXY in pixels, or None.
        masks: (N, 1, 4 n, 4 n) logits, or None.

    Returns:
        logits (N, 4, 4 n, 4 n), the single answer before the three, and foretold IoU (N, 4).
    """
    sparse, dense = sam.prompt_encoder(points, boxes, masks)
    return sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embedding[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=embedding + dense,
    )


def _prompts(kind: str, truth: np.ndarray, rough: np.ndarray, low: int) -> dict:
    """The prompts of all masks of a picture; from the truth where there is no mask prompt."""
    source = rough if "mask" in kind else truth
    prompt = dict.fromkeys(("points", "boxes", "masks"))
    if "points" in kind:
        slots = [point_slots(peaks(m, 1), peaks(beside(m), 1)) for m in source]
        prompt["points"] = tuple(
            torch.from_numpy(np.stack(part)) for part in zip(*slots, strict=True)
        )
    if "box" in kind:
        prompt["boxes"] = torch.from_numpy(np.stack([box_of(m) for m in source]))
    if "mask" in kind:
        soft = F.adaptive_avg_pool2d(torch.from_numpy(rough[:, None].astype(np.float32)), low)
        prompt["masks"] = (2 * soft - 1) * STRENGTH
    return prompt


@torch.no_grad()
def _answers(sam: Sam, embedding: Tensor, prompt: dict) -> tuple[np.ndarray, np.ndarray]:
    """The three answers (N, 3, S, S) bool, and which has the best foretold IoU (N,)."""
    side = sam.image_encoder.img_size
    logits, foretold = predict_masks(sam, embedding, **prompt)
    logits = F.interpolate(logits[:, 1:], (side, side), mode="bilinear", align_corners=False)
    return (logits > sam.mask_threshold).numpy(), foretold[:, 1:].argmax(1).numpy()


@torch.no_grad()
def evaluate(sam: Sam, split: str = "dev", count: int = 100) -> dict[str, float]:
    """Mean IoU in percent of answers and truth, on clean pictures and on such of another look.

    Every connected part of ``MIN_PART_PIXELS`` is asked for once for each kind of prompt. The
    answer is the one of three with the best foretold IoU, as in use. Boxes and points come from the
    rough mask where there is a mask prompt, else from the part itself.

    Returns:
        "rough": IoU of the rough masks, "frame" that of the true ones after SAM's low-resolution
        frame, which no answer can pass by much; "clean_KIND" and "look_KIND" for each kind;
        "clean_best" and "look_best" for the best of the three answers to mask+box+points.
    """
    side, low = sam.image_encoder.img_size, sam.prompt_encoder.mask_input_size[0]
    found: dict[str, list[float]] = {}
    for index in range(count):
        scene = render(SPLIT_SEEDS[split], index)
        rng = np.random.default_rng([SPLIT_SEEDS[split], index])
        truth = np.stack(connected_parts(scene.label_map))
        rough = degrade(truth, rng)
        found.setdefault("rough", []).extend(map(iou, rough, truth))
        small = F.adaptive_avg_pool2d(torch.from_numpy(truth[:, None].astype(np.float32)), low)
        framed = F.interpolate(small, (side, side), mode="bilinear", align_corners=False) > 0.5
        found.setdefault("frame", []).extend(map(iou, framed[:, 0].numpy(), truth))
        for look, image in (("clean", scene.image), ("look", change_look(scene.image, rng))):
            pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
            embedding = sam.image_encoder(((pixels - sam.pixel_mean) / sam.pixel_std)[None])
            embedding = embedding.expand(len(truth), -1, -1, -1)
            for kind in KINDS:
                masks, best = _answers(sam, embedding, _prompts(kind, truth, rough, low))
                ious = np.array(
                    [[iou(m, t) for m in ms] for ms, t in zip(masks, truth, strict=True)]
                )
                found.setdefault(f"{look}_{kind}", []).extend(ious[range(len(best)), best])
            found.setdefault(f"{look}_best", []).extend(ious.max(1))
    return {name: round(100 * float(np.mean(values)), 1) for name, values in found.items()}
