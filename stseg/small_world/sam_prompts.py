"""What SAM-mini learns from: regions of scenes, rough masks of them, and prompts as SAM takes them.

Axis legend: B pictures, N masks, P points, S = 128 pixels, the side of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.small_world.sam_looks import change_look
from stseg.small_world.scenes import render_training

#: The prompts of a picture's masks, one kind for each of them.
KINDS = ("points", "box", "mask", "mask+box", "mask+box+points")
MIN_PART_PIXELS = 40
POINTS = 6  # slots for points in a prompt, half of them for the background


@dataclass(frozen=True)
class ScenePool:
    """Rendered scenes: images (B, S, S, 3) uint8 RGB and label_maps (B, S, S) uint8."""

    images: np.ndarray
    label_maps: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def build_scene_pool(count: int, seed: int = 0, workers: int = 2) -> ScenePool:
    """The first ``count`` training scenes of a seed; 0 workers render in this process."""
    scenes = render_training(count, seed=seed, workers=workers)
    return ScenePool(np.stack([s.image for s in scenes]), np.stack([s.label_map for s in scenes]))


def connected_parts(label_map: np.ndarray, min_pixels: int = MIN_PART_PIXELS) -> list[np.ndarray]:
    """The connected parts of every class, (S, S) bool each, the small ones left out."""
    parts = []
    for label in np.unique(label_map):
        count, ids = cv2.connectedComponents((label_map == label).astype(np.uint8))
        parts += [ids == i for i in range(1, count)]
    return [part for part in parts if part.sum() >= min_pixels]


def _largest_part(mask: np.ndarray) -> np.ndarray:
    count, ids, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return mask if count <= 2 else ids == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def draw_picture(
    pool: ScenePool, row: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One training picture: mirrored, zoomed and turned, and mostly of another look.

    Args:
        pool: scenes.
        row: which of them.
        rng: draws the changes.

    Returns:
        image (S, S, 3) float32 RGB in [0, 255] and label map (S, S) uint8.
    """
    image, labels = pool.images[row], pool.label_maps[row]
    side = labels.shape[0]
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if rng.random() < 0.5:
        zoom, angle = rng.uniform(0.8, 1.6), rng.normal(0, 12)
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, zoom)
        matrix[:, 2] += rng.uniform(-0.12, 0.12, 2) * side
        move = partial(
            cv2.warpAffine, M=matrix, dsize=(side, side), borderMode=cv2.BORDER_REFLECT_101
        )
        image = move(np.ascontiguousarray(image), flags=cv2.INTER_LINEAR)
        labels = move(np.ascontiguousarray(labels), flags=cv2.INTER_NEAREST)
    if rng.random() < 0.75:
        image = change_look(image, rng)
    return np.ascontiguousarray(image, np.float32), np.ascontiguousarray(labels)


def draw_parts(label_map: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Some connected parts (N, S, S) bool, large ones no more often than small ones."""
    parts = connected_parts(label_map)
    chosen = rng.choice(len(parts), count, replace=len(parts) < count)
    return np.stack([parts[i] for i in chosen])


def _noise(shape: tuple[int, int, int], cells: int, side: int, rng: np.random.Generator) -> Tensor:
    values = torch.from_numpy(rng.standard_normal((*shape[:2], cells, cells)).astype(np.float32))
    return F.interpolate(values, (side, side), mode="bilinear", align_corners=False)


def degrade(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Masks as a main branch makes them: shifted, blobby, leaking, holed, too wide or too narrow.

    Args:
        masks: (N, S, S) bool.
        rng: draws the damage, other damage for every mask.

    Returns:
        (N, S, S) bool, connected and never empty.
    """
    count, side = len(masks), masks.shape[-1]
    x = torch.from_numpy(masks[:, None].astype(np.float32))
    pixels = torch.from_numpy(rng.uniform(0.0, 5.0, (count, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.normal(0, 1.5, (count, 2, 1, 1)).astype(np.float32))
    flow = _noise((count, 2, 0), int(rng.integers(5, 12)), side, rng) * pixels + shift
    grid = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), [count, 1, side, side], False)
    grid = grid + flow.permute(0, 2, 3, 1) * (2 / side)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    cells = int(rng.choice([side // 8, side // 4, side // 2]))
    x = F.interpolate(F.adaptive_avg_pool2d(x, cells), (side, side), mode="bilinear")
    rough = torch.from_numpy(rng.uniform(0.0, 0.25, (count, 1, 1, 1)).astype(np.float32))
    x = x + rough * _noise((count, 1, 0), int(rng.integers(6, 20)), side, rng)
    for sign in (1, -1):  # leaks and holes
        x = x + sign * _discs(masks, rng)
    threshold = torch.from_numpy(rng.uniform(0.25, 0.75, (count, 1, 1, 1)).astype(np.float32))
    rough_masks = (x > threshold)[:, 0].numpy()
    result = [_largest_part(mask) for mask in rough_masks]
    pairs = zip(result, masks, strict=True)
    return np.stack([new if iou(new, old) > 0.15 else old for new, old in pairs])


def _discs(masks: np.ndarray, rng: np.random.Generator) -> Tensor:
    """(N, 1, S, S) float32: for some masks a disc around one of their pixels, else zero."""
    side = masks.shape[-1]
    y, x = np.mgrid[0:side, 0:side]
    discs = np.zeros((len(masks), 1, side, side), np.float32)
    for disc, mask in zip(discs, masks, strict=True):
        if rng.random() < 0.35:
            rows, columns = np.nonzero(mask)
            at = rng.integers(len(rows))
            radius = rng.uniform(0.08, 0.35) * np.sqrt(mask.sum()) + 1
            disc[0] = (y - rows[at]) ** 2 + (x - columns[at]) ** 2 < radius**2
    return torch.from_numpy(discs)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boolean masks, 1 if both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def box_of(mask: np.ndarray) -> np.ndarray:
    """(4,) float32 XYXY in pixels, the last two exclusive, of a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def draw_box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The box of a rough mask, each side moved as a careless hand would, or grown on all sides."""
    box = box_of(mask)
    size = np.tile(box[2:] - box[:2], 2)
    box = box + rng.normal(0, rng.uniform(0, 0.08), 4).astype(np.float32) * size
    grown = rng.uniform(0, 0.15) * size * (-1, -1, 1, 1) if rng.random() < 0.3 else 0
    return np.clip(box + grown, 0, mask.shape[0]).astype(np.float32)


def peaks(mask: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Up to ``count`` (x, y) at the distance transform's peaks, each far from those before."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    points = []
    for _ in range(count):
        _, high, _, (x, y) = cv2.minMaxLoc(depth)
        if high < 1:
            break
        points.append((x, y))
        cv2.circle(depth, (x, y), int(1.5 * high) + 1, 0.0, -1)
    return points


def draw_points(
    rough: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points of one mask: peaks of a rough mask and of its box's background, or any of the truth.

    Returns:
        xy (P, 2) float32 pixels and labels (P,) int64: 1 inside, 0 outside, -1 no point.
    """
    wanted = [int(rng.integers(1, POINTS // 2 + 1)), int(rng.integers(0, POINTS // 2 + 1))]
    inside, outside = peaks(rough, wanted[0]), peaks(beside(rough), wanted[1])
    if rng.random() < 0.4:
        rows, columns = np.nonzero(truth)
        at = rng.integers(len(rows), size=wanted[0])
        inside, outside = list(zip(columns[at], rows[at], strict=True)), []
    return point_slots(inside, outside)


def beside(mask: np.ndarray) -> np.ndarray:
    """(S, S) bool: what of its box a mask, not empty, does not cover."""
    left, top, right, bottom = box_of(mask).astype(int)
    around = np.zeros_like(mask)
    around[top:bottom, left:right] = ~mask[top:bottom, left:right]
    return around


def point_slots(inside: Sequence, outside: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """What `draw_points` returns, of points (x, y) inside and outside."""
    xy, labels = np.zeros((POINTS, 2), np.float32), np.full(POINTS, -1, np.int64)
    points = [(point, 1) for point in inside] + [(point, 0) for point in outside]
    for slot, (point, label) in enumerate(points):
        xy[slot], labels[slot] = point, label
    return xy, labels


def mask_prompt(rough: np.ndarray, low: int, rng: np.random.Generator) -> np.ndarray:
    """A rough mask as logits in SAM's low-resolution frame: hard, soft or Gaussian-shaped.

    Args:
        rough: (S, S) bool, not empty.
        low: side of the frame, four times the embedding's.
        rng: draws form and strength.

    Returns:
        (1, low, low) float32.
    """
    strength = np.float32(np.exp(rng.uniform(np.log(2), np.log(25))))
    form = rng.random()
    soft = rough.astype(np.float32)
    if form < 0.4:
        soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.8, 3.0))
    elif form < 0.8:
        (x, y), *_ = peaks(rough, 1) or [box_of(rough)[:2]]
        rows, columns = np.mgrid[0 : rough.shape[0], 0 : rough.shape[1]]
        far = ((rows - y) ** 2 + (columns - x) ** 2) / rough.sum()
        soft = soft * (0.5 + 0.5 * np.exp(-far * rng.uniform(0.3, 4)).astype(np.float32))
    small = cv2.resize(soft, (low, low), interpolation=cv2.INTER_AREA)
    return ((2 * small - 1) * strength)[None]
