"""What the guard of self-training sees: predictions on a fixed sample of the target images."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn

from stseg.data import dataset_label_reader, dataset_vocabulary, first_images
from stseg.evaluation import ConfusionMatrix
from stseg.self_training.dataset_labeler import predict, predict_labels, spread, target_items
from stseg.self_training.guard import (
    GuardSettings,
    ImageOutput,
    Snapshot,
    merge_shards,
    snapshot_of,
)
from stseg.self_training.target import Target
from stseg.utils import kept_random_state, phase

#: Labels are compared at reduced size, see `stseg.self_training.snapshot`.
_MAX_SIDE = 512


def guard_settings(cfg: CfgNode) -> GuardSettings:
    """Limits from SELF_TRAINING.GUARD.*."""
    guard = cfg.SELF_TRAINING.GUARD
    return GuardSettings(
        sure_thresh=guard.SURE_THRESH,
        min_sure=guard.MIN_SURE,
        min_agreement=guard.MIN_AGREEMENT,
        min_class_agreement=guard.MIN_CLASS_AGREEMENT,
        max_drift=guard.MAX_DRIFT,
        min_area=guard.MIN_AREA,
        min_kept=guard.MIN_KEPT,
        max_entropy_rise=guard.MAX_ENTROPY_RISE,
        max_stability_drop=guard.MAX_STABILITY_DROP,
        max_source_drop=guard.MAX_SOURCE_DROP,
        min_change=guard.MIN_CHANGE,
        min_gain=guard.MIN_GAIN,
        min_left=guard.MIN_LEFT,
        noise=guard.NOISE,
    )


@phase("guard")
def take_snapshot(cfg: CfgNode, target: Target, model: nn.Module) -> Snapshot:
    """What a model says now; all ranks together, and all get the whole.

    Args:
        cfg: reads SELF_TRAINING.GUARD.IMAGES and SELF_TRAINING.SOURCE.DATASETS.
        target: its images are sampled evenly.
        model: the bare segmentor; left as it is.
    """
    rank, world_size = comm.get_rank(), comm.get_world_size()
    chosen = spread(cfg.SELF_TRAINING.GUARD.IMAGES, len(target.records))
    mine = list(enumerate(chosen))[rank::world_size]
    with kept_random_state(), inference_context(model), torch.no_grad():
        shard = None
        if mine:
            names = target.vocabulary.names
            shard = snapshot_of(_outputs(cfg, target, model, mine), names)
        shards = comm.all_gather(shard)
        source_miou = _source_miou(cfg, model)
    return replace(merge_shards(shards), source_miou=source_miou)


def _outputs(
    cfg: CfgNode, target: Target, model: nn.Module, chosen: list[tuple[int, int]]
) -> Iterator[ImageOutput]:
    records = [target.records[index] for _, index in chosen]
    items = target_items(cfg, records, target.name, target.vocabulary)
    for (place, _), item in zip(chosen, items, strict=True):
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


def _source_miou(cfg: CfgNode, model: nn.Module) -> float | None:
    """Source mIoU (points) on up to GUARD.IMAGES images of every source set; None without one."""
    scores = []
    for name in cfg.SELF_TRAINING.SOURCE.DATASETS:
        records = first_images(cfg, DatasetCatalog.get(name))
        chosen = spread(cfg.SELF_TRAINING.GUARD.IMAGES, len(records))
        vocabulary, read = dataset_vocabulary(name), dataset_label_reader(name)
        confusion = ConfusionMatrix(len(vocabulary))
        mine = [records[k] for k in chosen[comm.get_rank() :: comm.get_world_size()]]
        for item in target_items(cfg, mine, name, vocabulary):
            labels = predict_labels(model, item, max(item["height"], item["width"]))
            truth = read(item["sem_seg_file_name"])
            confusion.update(labels.cpu().numpy(), truth)
        merged = ConfusionMatrix(len(vocabulary))
        for part in comm.all_gather(confusion):
            merged.merge(part)
        scores.append(100 * merged.summary()["mIoU_gt"])
    return sum(scores) / len(scores) if scores else None
