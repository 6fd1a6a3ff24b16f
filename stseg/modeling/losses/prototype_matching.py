"""Group centres are like the prototypes of their image, one each (PGSeg, NeurIPS 2023).

PGSeg's paper was not at hand, and its code (9f167cd) does not do what it seems to mean. In its form
"released" pairs are those of least cosine, and a pair is kept or not by its cosine with the first
column. In the form "intended", ours, pairs are those of greatest cosine, and each is judged by its
own.

Shapes: B images, G groups and as many prototypes, C channels.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.losses.contrastive import capped_scale
from stseg.modeling.losses.matcher import check_costs
from stseg.modeling.losses.set_criterion import mean_count

_REJECTED_BELOW = 0.1  # place of a pair between the worst and the best of its row, in [0, 1]
_TINY = 1e-6


def prototype_loss(
    groups: Tensor, prototypes: Tensor, log_scale: Tensor, form: str = "intended"
) -> Tensor:
    """Match, then compare; see `match_prototypes` and `matched_prototype_loss`.

    Args:
        groups: (B, G, C) of any float type.
        prototypes: (B, G, C), which get no gradient.
        log_scale: scalar, see `capped_scale`; learnt, ln(1 / 0.1) at the start.
        form: "intended" or "released".

    Returns:
        Scalar, float32 or float64, whatever autocast says.

    Raises:
        ValueError: for an unknown form, or if shapes differ.
        FloatingPointError: if a cosine is not finite.
    """
    is_released = _is_released(form)
    match = match_prototypes(groups, prototypes, maximise=not is_released)
    matched = prototypes.take_along_dim(match[:, :, None], 1)
    return matched_prototype_loss(groups, matched, log_scale, form)


@torch.no_grad()
def match_prototypes(groups: Tensor, prototypes: Tensor, *, maximise: bool) -> Tensor:
    """Give each group of an image a prototype of its own, so that cosines add up to the most.

    Args:
        groups: (B, G, C).
        prototypes: (B, G, C).
        maximise: False for the least, as released.

    Returns:
        (B, G) int64, the index of each group's prototype. Ties are broken alike at every call.

    Raises:
        ValueError: if shapes differ.
        FloatingPointError: if a cosine is not finite.
    """
    found = []
    for i, costs in enumerate(_cosines(groups, prototypes).cpu()):  # once for a thousand images
        check_costs({"cosine": costs}, f"image {i} of the batch")
        _, columns = linear_sum_assignment(costs.numpy(), maximize=maximise)
        found.append(torch.from_numpy(columns))
    return torch.stack(found).to(groups.device)


def matched_prototype_loss(
    groups: Tensor, matched: Tensor, log_scale: Tensor, form: str = "intended"
) -> Tensor:
    """Cross entropy of groups over the prototypes of their image, plus that the other way round.

    A pair whose cosine is low, for what else its row offers, does not count as a row; it stays a
    column. Each of the two is a mean over the rows of the whole batch that are kept: of all
    processes in the form "intended", whose gradients together are those of one process, and of
    this one in the form "released".

    Args:
        groups: (B, G, C) of any float type.
        matched: (B, G, C), the prototype of each group in its row; no gradient.
        log_scale: scalar, see `capped_scale`.
        form: "intended" or "released". Every process must ask.

    Returns:
        Scalar, float32 or float64; 0, with a graph, if no row is kept.

    Raises:
        ValueError: for an unknown form, or if shapes differ.
    """
    is_released = _is_released(form)
    cosines = _cosines(groups, matched.detach())
    loss = cosines.new_zeros(())
    with torch.autocast(cosines.device.type, enabled=False):
        logits = capped_scale(log_scale) * cosines
        for over in (1, 2):  # rows of prototypes over groups, and rows of groups over prototypes
            rows = -logits.log_softmax(over).diagonal(dim1=1, dim2=2)
            kept = _kept(cosines.detach(), over, is_released)
            count = int(kept.sum())
            divisor = max(count, 1) if is_released else mean_count(count)
            loss = loss + (rows * kept).sum() / divisor
    return loss


def _is_released(form: str) -> bool:
    return check("MODEL.PGSEG.PROTOTYPES.FORM", form) == "released"


def _kept(cosines: Tensor, over: int, is_released: bool) -> Tensor:
    """(B, G) bool, which rows of (B, G, G) count, each a distribution over axis `over`."""
    low, high = cosines.amin(over, keepdim=True), cosines.amax(over, keepdim=True)
    places = (cosines - low) / (high - low + _TINY)
    places = places.select(3 - over, 0) if is_released else places.diagonal(dim1=1, dim2=2)
    return places > _REJECTED_BELOW


def _cosines(groups: Tensor, prototypes: Tensor) -> Tensor:
    """(B, G, G) of groups and prototypes, float32 at least."""
    if groups.ndim != 3 or groups.shape != prototypes.shape:
        raise ValueError(
            f"prototypes: expected one per group, (B, G, C) as groups {tuple(groups.shape)}, got "
            f"{tuple(prototypes.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(groups.dtype, prototypes.dtype), torch.float32)
    with torch.autocast(groups.device.type, enabled=False):
        unit = (F.normalize(x.to(dtype), dim=-1) for x in (groups, prototypes))
        return torch.einsum("bic,bjc->bij", *unit)
