"""Which regions get which unseen name: rules over what CLIP says, without CLIP (ours, optional).

A region counts where it is void in the ground truth. A picture has a few candidates among the
unseen names; a region takes the best of them, if CLIP prefers it to all seen names as well, so that
leftovers of seen classes are refused.

Shapes: N regions, T classes, H x W pixels at which labels are made.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from stseg.config import check
from stseg.self_training.gate import below
from stseg.self_training.prompts import Part, whole
from stseg.structures import IGNORE_LABEL


@dataclass(frozen=True)
class NamingRules:
    """Limits, see SELF_TRAINING.VLM.

    Attributes:
        min_void: least share of a region that is void, in [0, 1].
        min_pixels: least pixels of its void part.
        min_presence: least probability of a candidate in one view of the picture, in [0, 1].
        max_candidates: of a picture.
        min_prob: least probability of a region's name, in [0, 1].
        min_margin: least distance to the second, in [0, 1].
    """

    min_void: float = 0.5
    min_pixels: int = 256
    min_presence: float = 0.05
    max_candidates: int = 5
    min_prob: float = 0.5
    min_margin: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            check(f"SELF_TRAINING.VLM.{field.name.upper()}", getattr(self, field.name))


@dataclass(frozen=True)
class RegionName:
    """What a region is called.

    Attributes:
        class_id: the best of the names that compete.
        probability: of it among them, in [0, 1].
        reason: why the region does not get it, in words; "" where it does.
    """

    class_id: int
    probability: float
    reason: str = ""


def void_parts(masks: Iterable[np.ndarray], void: np.ndarray, rules: NamingRules) -> list[Part]:
    """What of some regions (H, W) bool is void, (H, W) bool too, if it is enough of them."""
    parts = []
    for mask in masks:
        area, left = int(np.count_nonzero(mask)), mask & void
        pixels = int(np.count_nonzero(left))
        if pixels >= max(rules.min_pixels, rules.min_void * area):
            parts += whole(left)
    return parts


def candidates(
    presence: np.ndarray, unseen: Collection[int], rules: NamingRules
) -> tuple[int, ...]:
    """Ids of the unseen classes that a picture may have, rising.

    Args:
        presence: (T,) in [0, 1], the highest probability of each class over the picture's views.
        unseen: ids to choose from.
        rules: limits.
    """
    ids = sorted(unseen, key=lambda class_id: (-presence[class_id], class_id))
    found = [class_id for class_id in ids if presence[class_id] >= rules.min_presence]
    return tuple(sorted(found[: rules.max_candidates]))


def name_regions(
    logits: np.ndarray, seen: Collection[int], chosen: Collection[int], rules: NamingRules
) -> list[RegionName]:
    """Name regions by a softmax over the seen classes and the candidates of their picture.

    Args:
        logits: (N, T), cosines times CLIP's scale.
        seen: ids of seen classes.
        chosen: ids of candidates, at least one.
        rules: limits.

    Returns:
        N names; of equals the lower id.
    """
    ids = np.array(sorted({*seen, *chosen}))
    scores = logits[:, ids].astype(np.float64)
    shares = np.exp(scores - scores.max(1, initial=-np.inf, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    names = []
    for row in shares:
        best = int(row.argmax())
        prob, class_id = float(row[best]), int(ids[best])
        margin, reason = prob - float(np.delete(row, best).max(initial=0.0)), ""
        if class_id not in chosen:
            reason = "seen"
        elif prob < rules.min_prob:
            reason = f"probability {below(prob, rules.min_prob)}"
        elif margin < rules.min_margin:
            reason = f"margin {below(margin, rules.min_margin)}"
        names.append(RegionName(class_id, prob, reason))
    return names


def paint(
    parts: Sequence[Part],
    class_ids: Sequence[int],
    scores: Sequence[float],
    shape: tuple[int, int],
) -> np.ndarray:
    """Lay regions over each other, the best scored on top; of equals the earlier.

    Returns:
        (H, W) int32, IGNORE_LABEL where none lies.
    """
    painted = np.full(shape, IGNORE_LABEL, np.int32)
    for k in np.lexsort((-np.arange(len(parts)), np.asarray(scores, np.float64))).tolist():
        painted[parts[k].window][parts[k].mask] = class_ids[k]
    return painted
