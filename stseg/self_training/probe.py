"""What the guard of self-training sees: predictions on a fixed sample of the target images."""

import math
from collections.abc import Callable, Iterator
from itertools import chain

import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn

from stseg.data import spread
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
        target: its images are sampled evenly.
        items: gives their model inputs.
        images: how many.
        source_miou: asks, on all ranks, for the mIoU (points) on labelled images of stage 1.
    """
    chosen, names = spread(images, len(target.records)), target.vocabulary.names
    mine = list(enumerate(chosen))[comm.get_rank() :: comm.get_world_size()]
    with kept_random_state(), inference_context(model), torch.no_grad():
        # Reduced one by one: only one image at full size is in memory.
        outputs = [output.reduced() for output in _outputs(items, target, model, mine)]
        parts = comm.all_gather(outputs)
        miou = source_miou(model) if source_miou is not None else None
    return snapshot_of(chain.from_iterable(parts), names, source_miou=miou)


def _outputs(
    items: Items, target: Target, model: nn.Module, chosen: list[tuple[int, int]]
) -> Iterator[ImageOutput]:
    inputs = items([target.records[index] for _, index in chosen])
    for (place, _), item in zip(chosen, inputs, strict=True):
        probs = predict(model, item, _MAX_SIDE)[0].float()
        mirrored = {**item, "image": item["image"].flip(-1)}
        second = predict_labels(model, mirrored, _MAX_SIDE).flip(-1)
        confidence, labels = probs.max(dim=0)
        yield ImageOutput(
            index=place,
            image=item["file_name"],
            label_map=labels.cpu().numpy(),
            confidence=confidence.cpu().numpy(),
            entropy=normalised_entropy(probs),
            stability=float((second == labels).float().mean()),
        )


def normalised_entropy(probs: Tensor) -> float:
    """Mean over pixels of the entropy of the softmax over classes, divided by log T, in [0, 1].

    Taken over logits: shares of independent probabilities would call a pixel uncertain as soon as
    many classes are a little possible, however sure the best one is.

    Args:
        probs: (T, H, W) independent probabilities.
    """
    if len(probs) == 1:
        return 0.0
    logits = torch.logit(probs.float(), eps=1e-6)
    log_shares = logits.log_softmax(dim=0)
    entropy = -(log_shares.exp() * log_shares).sum(dim=0)
    return float(entropy.mean() / math.log(len(probs)))
