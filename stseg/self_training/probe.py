"""What the guard of self-training sees: predictions on a fixed sample of the target images."""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn

from stseg.modeling.meta_arch import OpenVocabSegmentor
from stseg.self_training.dataset_labeler import Items, predict, predict_labels
from stseg.self_training.snapshot import ImageOutput, Snapshot, snapshot_of
from stseg.self_training.target import Target
from stseg.utils import kept_random_state, phase

#: Labels are compared at reduced size, see `stseg.self_training.snapshot`.
_MAX_SIDE = 512


@phase("guard")
def take_snapshot(
    model: nn.Module,
    *,
    target: Target,
    items: Items,
    images: int = 32,
    source_miou: Callable[[nn.Module], float | None] | None = None,
) -> Snapshot:
    """What a model says now; all ranks together, and all get the whole.

    Args:
        model: the bare segmentor; left as it is.
        target: says which images, see `Target.judged`.
        items: gives their model inputs.
        images: how many, where the target holds none out.
        source_miou: asks, on all ranks, for the mIoU (points) on labelled images of stage 1.
    """
    names = target.vocabulary.names
    mine = list(enumerate(target.judged(images)))[comm.get_rank() :: comm.get_world_size()]
    with kept_random_state(), inference_context(model), torch.no_grad():
        # Reduced one by one: only one image at full size is in memory.
        outputs = [output.reduced() for output in _outputs(items, model, mine)]
        parts = comm.all_gather(outputs)
        miou = source_miou(model) if source_miou is not None else None
    return snapshot_of(chain.from_iterable(parts), names, source_miou=miou)


def _outputs(
    items: Items, model: nn.Module, chosen: list[tuple[int, dict[str, Any]]]
) -> Iterator[ImageOutput]:
    inputs = items([record for _, record in chosen])
    for (place, _), item in zip(chosen, inputs, strict=True):
        probs = predict(model, item, _MAX_SIDE)[0].float()
        mirrored = {**item, "image": item["image"].flip(-1)}
        second = predict_labels(model, mirrored, _MAX_SIDE).flip(-1)
        confidence, labels = probs.max(dim=0)
        entropy, shares = entropy_and_shares(probs)
        yield ImageOutput(
            index=place,
            image=item["file_name"],
            label_map=labels.cpu().numpy(),
            confidence=confidence.cpu().numpy(),
            entropy=entropy,
            stable=(second == labels).cpu().numpy(),
            shares=shares.cpu().numpy(),
            features=_features(model, item),
        )


def _features(model: nn.Module, item: dict[str, Any]) -> np.ndarray | None:
    """(D, h', w') float16 that the model has before any word is asked, if it shows them."""
    if not isinstance(model, OpenVocabSegmentor):
        return None
    tensors = model.encode([item["image"].to(model.device, torch.float32)]).tensors
    return tensors["dense"][0].half().cpu().numpy() if "dense" in tensors else None


def entropy_and_shares(probs: Tensor) -> tuple[float, Tensor]:
    """Normalised entropy of the mean pixel, and the mean of its class probabilities.

    The entropy is that of the softmax over classes, divided by log T, in [0, 1], a mean over
    pixels. It is taken over logits: shares of independent probabilities would call a pixel
    uncertain as soon as many classes are a little possible, however sure the best one is.

    Args:
        probs: (T, H, W) independent probabilities.

    Returns:
        The entropy, and (T,) float32 that sum to 1, the softmax's mean over pixels.
    """
    log_shares = torch.logit(probs.float(), eps=1e-6).log_softmax(dim=0)
    shares = log_shares.exp()
    mean = shares.mean(dim=(1, 2))
    if len(probs) == 1:
        return 0.0, mean
    entropy = -(shares * log_shares).sum(dim=0)
    return float(entropy.mean() / math.log(len(probs))), mean
