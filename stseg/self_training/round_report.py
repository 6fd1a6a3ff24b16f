"""What a run says of the labels of a round: lines of the log, scalars, and why there were none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventStorage

from stseg.self_training.page_advice import LITTLE, other_thresholds
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.survey import Survey
from stseg.utils import some_of

logger = logging.getLogger(__name__)


def tell_labels(
    store: PseudoLabelStore,
    threshold: float,
    changed: float | None,
    storage: EventStorage,
    cure: str = "",
) -> None:
    """Log how much a round has labelled, and put it into the curves.

    Args:
        store: finished.
        threshold: of the gate.
        changed: share of the pixels labelled in this round and the one before whose class differs.
        storage: of the trainer.
        cure: of a labeler without the gate, see `Labeler`.
    """
    summary, number = store.summary(), store.round_number
    accepted = sum(row["images_accepted"] > 0 for row in summary["classes"])
    storage.put_scalar("self_training/coverage", summary["coverage"])
    storage.put_scalar("self_training/accepted_classes", accepted)
    if changed is not None:
        storage.put_scalar("self_training/changed", changed)
    logger.info(
        "Round %d: %.1f %% of the pixels labelled, %d of %d classes accepted%s, %.1f MB in %s. "
        "Never accepted: %s",
        number,
        100 * summary["coverage"],
        accepted,
        len(summary["classes"]),
        "" if changed is None else f", {100 * changed:.1f} % changed since the last round",
        summary["disk_use"] / 1e6,
        store.folder,
        some_of(summary["never_accepted"]) or "none",
    )
    if 0 < summary["coverage"] < LITTLE and cure:
        share = 100 * summary["coverage"]
        logger.warning("Round %d has next to no labels: %.2f %%. You may %s", number, share, cure)
    elif 0 < summary["coverage"] < LITTLE:
        logger.warning(
            "Round %d has next to no labels: %.2f %% of the pixels, with SELF_TRAINING.GATE.THRESH "
            "%g. %s",
            number,
            100 * summary["coverage"],
            threshold,
            other_thresholds(summary["passing"], threshold, "pixels"),
        )


def why_no_labels(summary: Mapping[str, Any], threshold: float, page: Path, cure: str = "") -> str:
    """Why a round has no labels, and what to do.

    Args:
        summary: of the round, see `RoundCounts.summary`.
        threshold: of the gate.
        page: where to see it.
        cure: of a labeler without the gate, see `Labeler`.
    """
    images = summary["images"]
    if cure:
        return f"Pseudo-labels: expected some, got none in {images} images. See {page}, and {cure}"
    if any(row["images_accepted"] for row in summary["classes"]):
        return (
            "SELF_TRAINING.REFINE: expected masks for the accepted classes, got none in "
            f"{images} images. See {page}, and check MODEL.SAM.CHECKPOINT, lower "
            "REGION_VOTE.PURITY where regions vote, or set REFINE.ENABLED False."
        )
    told = other_thresholds(summary["passing"], threshold, "pixels")
    return f"{_nothing_passed(threshold, images)} {told} See {page}, and {_CURE}"


def why_nothing_passes(survey: Survey, threshold: float, images: int) -> str:
    """The same for the online mode, which has labels only when a batch is asked for."""
    told = other_thresholds(survey.passing(), threshold, "masks")
    return f"{_nothing_passed(threshold, images)} {told} You may {_CURE}"


_CURE = "lower it, set SELF_TRAINING.GATE.QUANTILE, or name classes that are in the images."


def _nothing_passed(threshold: float, images: int) -> str:
    return (
        f"SELF_TRAINING.GATE.THRESH: expected at least one class above {threshold:g} in one image, "
        f"got none in {images} images."
    )
