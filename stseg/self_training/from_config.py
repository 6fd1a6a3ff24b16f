"""Self-training as a config asks for it; all that is built here can be built by keyword as well."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from torch import nn

from stseg.config import check_ignored
from stseg.data import (
    build_record_loader,
    build_self_training_loader,
    dataset_label_reader,
    dataset_vocabulary,
    first_images,
    spread,
)
from stseg.evaluation import ConfusionMatrix
from stseg.self_training.dataset_labeler import DatasetLabeler, predict_labels, sam_digest
from stseg.self_training.guard import GuardSettings
from stseg.self_training.hook import SamPseudoLabelHook
from stseg.self_training.labeler import LABELER_REGISTRY, Labeler, own_sam_encoder
from stseg.self_training.probe import take_snapshot
from stseg.self_training.round_page import write_preview
from stseg.self_training.sam_branch import build_sam_branch
from stseg.self_training.sam_features import SamFeatures
from stseg.self_training.store_key import labelling_keys
from stseg.self_training.target import Target, load_target
from stseg.self_training.template_choice import check_top, choose_templates
from stseg.self_training.vision_language import VisionLanguageLabeler as _  # noqa: F401
from stseg.structures import Vocabulary
from stseg.utils import phase, registered


def _check_learner(model: nn.Module) -> None:
    """Before an hour of labelling; systems of others need not say."""
    if not getattr(model, "learns_from_labels", True):
        raise ValueError(
            "SELF_TRAINING.ENABLED: expected a MODEL.META_ARCHITECTURE that learns from labels, "
            f"got {type(model).__name__}, which learns from captions. Train it on captions of the "
            "target's images, or adapt another system."
        )


def build_self_training(cfg: CfgNode, model: nn.Module, average: Any = None) -> SamPseudoLabelHook:
    """The rounds of a run; the arguments are explained at the hook.

    Raises:
        ValueError, FileNotFoundError: see `load_target`; and for MODEL.LOSS.IGNORED "negative", for
            TEMPLATES.TOP with a model that has no such choice, and for one that labels teach
            nothing.
    """
    check_ignored(cfg)
    _check_learner(model)
    st, folder = cfg.SELF_TRAINING, Path(cfg.OUTPUT_DIR) / "self_training"
    check_top(st.TEMPLATES.TOP, model)
    target = load_target(cfg)
    labeler = build_dataset_labeler(cfg, target, model)
    probe = partial(
        take_snapshot,
        target=target,
        items=labeler.items,
        images=st.GUARD.IMAGES,
        source_miou=partial(source_miou, cfg),
    )
    choose = partial(
        choose_templates, target=target, items=labeler.items, top=st.TEMPLATES.TOP, folder=folder
    )
    return SamPseudoLabelHook(
        model=model,
        labeler=labeler,
        loader=partial(
            build_self_training_loader,
            cfg,
            dataset_name=target.name,
            vocabulary=target.vocabulary,
            source_names=st.SOURCE.DATASETS if st.SOURCE.FRACTION else (),
            source_fraction=st.SOURCE.FRACTION,
            online=st.ONLINE,
        ),
        folder=folder,
        rounds=st.ROUNDS,
        round_iters=st.ROUND_ITERS,
        average=average,
        probe=probe if st.GUARD.ENABLED else None,
        limits=guard_settings(cfg),
        online=st.ONLINE,
        balanced=st.BALANCED_SAMPLING,
        pictures=st.PREVIEW,
        choose=choose if st.TEMPLATES.TOP else None,
    )


def build_preview(cfg: CfgNode, model: nn.Module, count: int) -> dict[str, float]:
    """Labels of `count` images, spread evenly over the set, on a page; see `write_preview`."""
    target = load_target(cfg)
    chosen = tuple(target.records[i] for i in spread(count, len(target.records)))
    labeler = build_dataset_labeler(cfg, replace(target, records=chosen), model)
    return write_preview(labeler, model, Path(cfg.OUTPUT_DIR) / "self_training" / "preview")


@phase("build SAM's decoder")
def build_dataset_labeler(cfg: CfgNode, target: Target, model: nn.Module) -> DatasetLabeler:
    """What labels a target; the model is only looked at."""
    st = cfg.SELF_TRAINING
    if st.LABELER not in LABELER_REGISTRY:
        known = ", ".join(name for name, _ in LABELER_REGISTRY)
        raise ValueError(f"SELF_TRAINING.LABELER: expected one of {known}, got {st.LABELER!r}.")
    labeler = registered(LABELER_REGISTRY, st.LABELER, "SELF_TRAINING.LABELER")(cfg, target, model)
    sam = labeler.sam
    return DatasetLabeler(
        target=target,
        labeler=labeler,
        items=partial(_items, cfg, target.name, target.vocabulary),
        settings={
            **labelling_keys(cfg),
            **labeler.facts(),
            "sam": sam_digest(sam, own_sam_encoder(model)) if sam else "",
            "target": target.name,  # whose metadata a mapper of one's own may ask for
            "thresholds": labeler.thresholds.tolist(),
            "vetoed": sorted(target.vetoed),
            "seen": target.vocabulary.seen if getattr(model, "asks_seen", False) else None,
        },
        max_side=st.LABEL_MAX_SIZE,
        quantile=st.GATE.QUANTILE,
        refine_file=st.REFINE.IMAGE == "file",
        features=SamFeatures(st.SAM_CACHE_DIR, st.SAM_CACHE_GIB) if st.SAM_CACHE_DIR else None,
    )


def _items(
    cfg: CfgNode, name: str, vocabulary: Vocabulary, records: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Model inputs of records, one by one, as in testing."""
    if records:
        for batch in build_record_loader(cfg, records, name, vocabulary):
            yield from batch


@LABELER_REGISTRY.register()
def build_sam_labeler(cfg: CfgNode, target: Target, model: nn.Module) -> Labeler:
    """Gate, then SAM's masks or a vote in its regions; without REFINE.ENABLED the gate alone."""
    gate = cfg.SELF_TRAINING.GATE
    return Labeler(
        target.vocabulary.names,
        scoring=gate.SCORING,
        threshold=gate.THRESH,
        min_pixel=gate.MIN_PIXEL,
        vetoed=target.vetoed,
        sam=build_sam_branch(cfg, model) if cfg.SELF_TRAINING.REFINE.ENABLED else None,
    )


def source_miou(cfg: CfgNode, model: nn.Module) -> float | None:
    """Source mIoU (points) on up to GUARD.IMAGES images of every source set; None without one."""
    scores = []
    for name in cfg.SELF_TRAINING.SOURCE.DATASETS:
        records = first_images(cfg, DatasetCatalog.get(name))
        chosen = spread(cfg.SELF_TRAINING.GUARD.IMAGES, len(records))
        vocabulary, read = dataset_vocabulary(name), dataset_label_reader(name)
        confusion = ConfusionMatrix(len(vocabulary))
        mine = [records[k] for k in chosen[comm.get_rank() :: comm.get_world_size()]]
        for item in _items(cfg, name, vocabulary, mine):
            labels = predict_labels(model, item, max(item["height"], item["width"]))
            confusion.update(labels.cpu().numpy(), read(item["sem_seg_file_name"]))
        merged = ConfusionMatrix(len(vocabulary))
        for part in comm.all_gather(confusion):
            merged.merge(part)
        scores.append(100 * merged.summary()["mIoU_gt"])
    return sum(scores) / len(scores) if scores else None


def guard_settings(cfg: CfgNode) -> GuardSettings:
    """Limits from SELF_TRAINING.GUARD.*."""
    names = [field.name for field in fields(GuardSettings)]
    return GuardSettings(**{name: cfg.SELF_TRAINING.GUARD[name.upper()] for name in names})
