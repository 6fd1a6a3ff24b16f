"""Pictures and their captions find each other among those of all processes (CLIP, ICML 2021).

Shapes: B pairs of this process, N of all processes, C channels, M extra texts of a picture.
"""

import math

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_gather
from torch import Tensor
from torch.nn import functional as F

_LARGEST_SCALE = 100.0


def capped_scale(log_scale: Tensor) -> Tensor:
    """What cosines are multiplied with: min(exp(log_scale), 100), as in CLIP."""
    return log_scale.clamp(max=math.log(_LARGEST_SCALE)).exp()


def contrastive_loss(
    image: Tensor,
    text: Tensor,
    log_scale: Tensor,
    *,
    extra_text: Tensor | None = None,
    extra_log_scale: Tensor | None = None,
) -> Tensor:
    """Cross entropy of each picture over all texts, and of each text over all pictures, halved.

    Pairs of other processes take part, with gradient. Sums are divided by the mean over processes
    of their number of pairs, so that processes together have loss and gradient of one with all
    pairs, even if one has more than another. Every process must ask.

    Args:
        image: (B, C) of any float type and length; B and C of one process.
        text: (B, C), the picture's own caption in the same row.
        log_scale: scalar, see `capped_scale`; learnt, ln(1 / 0.07) at the start.
        extra_text: (B, M, C), M more texts of each picture, M the same on all processes: adds the
            same loss of pictures and all extra texts, where a picture wants 1 / M on each of its
            own (GroupViT, CVPR 2022, section 3.3).
        extra_log_scale: scalar, that loss's own.

    Returns:
        Scalar, float32 or float64, whatever autocast says.

    Raises:
        ValueError: if shapes do not go together, or only one of the extra arguments is given.
    """
    _check(image, text, extra_text, extra_log_scale)
    with torch.autocast(image.device.type, enabled=False):
        counts = comm.all_gather(len(image))
        own = sum(counts[: comm.get_rank()]) + torch.arange(len(image), device=image.device)
        image = _unit(image)
        images = _gathered(image, counts)
        loss = _both_ways(image, images, text[:, None], own, counts, log_scale)
        if extra_text is not None and extra_log_scale is not None:
            loss = loss + _both_ways(image, images, extra_text, own, counts, extra_log_scale)
        return loss / max(sum(counts) / len(counts), 1.0)


def _both_ways(
    image: Tensor, images: Tensor, text: Tensor, own: Tensor, counts: list[int], log_scale: Tensor
) -> Tensor:
    """Half of both cross entropies of pictures (B, C) and M texts of each, summed over pictures.

    Own are the rows (B,) of these pictures among all (N, C).
    """
    text, scale, rows = (
        _unit(text),
        capped_scale(log_scale),
        torch.arange(len(own), device=own.device),
    )
    texts = _gathered(text, counts)
    over_texts = (scale * image @ texts.flatten(0, 1).T).log_softmax(-1)
    over_texts = over_texts.unflatten(-1, texts.shape[:2])[rows, own]
    over_images = (scale * text @ images.T).log_softmax(-1)[rows, :, own]
    return -(over_texts + over_images).mean(-1).sum() / 2


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _gathered(x: Tensor, counts: list[int]) -> Tensor:
    """Rows (N, ...) of all processes, of which each has as many as `counts` says."""
    filled = torch.cat([x, x.new_zeros(max(counts) - len(x), *x.shape[1:])])
    parts = differentiable_all_gather(filled)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _check(
    image: Tensor, text: Tensor, extra_text: Tensor | None, extra_log_scale: Tensor | None
) -> None:
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(
            f"contrastive_loss: expected image and text of one shape (B, C), got "
            f"{tuple(image.shape)} and {tuple(text.shape)}."
        )
    if (extra_text is None) != (extra_log_scale is None):
        raise ValueError(
            "contrastive_loss: expected extra_text and extra_log_scale, or neither, got one of "
            "them. Extra texts have a scale of their own."
        )
    if extra_text is None:
        return
    if extra_text.ndim != 3 or extra_text[:, 0].shape != image.shape:
        raise ValueError(
            f"extra_text: expected (B, M, C) with B, C of image {tuple(image.shape)}, got "
            f"{tuple(extra_text.shape)}."
        )
