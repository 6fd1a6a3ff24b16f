"""The pages of self-training: what the report shows of a round, gathered from its files."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.utils import comm
from torch import nn

from stseg.checkpoint import write_json
from stseg.data import read_image
from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.self_training.guard import RoundVerdict
from stseg.self_training.page import write_page
from stseg.self_training.page_advice import advice_on
from stseg.self_training.page_pictures import ReportEntry
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.target import Target
from stseg.utils import phase

logger = logging.getLogger(__name__)


@phase("page")
def write_round_page(
    folder: Path,
    store: PseudoLabelStore,
    pictured: Sequence[int],
    target: Target,
    *,
    previous: PseudoLabelStore | None = None,
    after: Mapping[int, np.ndarray] | None = None,
    verdict: RoundVerdict | None = None,
    cure: str = "",
) -> None:
    """Write ``round_<n>.html`` and ``.png``; again, with more to show, when the round has ended.

    Args:
        folder: of the run's self-training.
        store: finished pseudo-labels of the round.
        pictured: indices of the images to show.
        target: images and names.
        previous: labels of the round before, shown before the new ones.
        after: index to (H, W) class ids, the model's answers after the round.
        verdict: of the guard on the round.
        cure: of a labeler without the gate, see `Labeler`.
    """
    number, summary = store.round_number, store.summary()
    figures: list[tuple[str, str]] = [
        ("images", str(summary["images"])),
        ("pixels labelled", f"{summary['coverage']:.1%}"),
        ("classes accepted", f"{len(store.names) - len(summary['never_accepted'])}"),
        ("disk", f"{summary['disk_use'] / 1e6:.1f} MB"),
    ]
    words, evidence = "", []
    if verdict is not None:
        words = "No harm found. " + " ".join(verdict.signs)
        if verdict.harmful:
            words = "Rolled back: " + " ".join(verdict.reasons)
        evidence = [("figure", "start", "now"), *verdict.evidence.rows()]
    write_page(
        folder / f"round_{number:02d}.html",
        _entries(store, pictured, previous, after),
        title=f"Self-training, round {number}",
        vocabulary=target.vocabulary,
        summary=figures,
        counted=(store.counts.classes, len(store)),
        verdict=words,
        evidence=evidence,
        remarks={i: "vetoed" for i in target.vetoed},
        before_caption="Label of the round before",
        advice=advice_on(summary, cure),
        veto_text=target.veto_text,
    )


def write_preview(labeler: DatasetLabeler, model: nn.Module, folder: Path) -> dict[str, float]:
    """Make the pseudo-labels of round 1, and the page; all ranks together.

    Args:
        labeler: of the few images to show.
        model: the bare segmentor with the starting weights.
        folder: gets the files.

    Returns:
        {"coverage": share of their pixels that carry a label}.
    """
    target, store = labeler.target, labeler.store(folder, 1, labeler.digest(model))
    labeler.fill(store, model, range(len(store)))
    if comm.is_main_process():
        write_json(folder / "seen.json", target.seen)
        cure = labeler.labeler.cure
        write_round_page(folder, store, range(len(store)), target, cure=cure)
        logger.info("%.1f %% of the pixels get a label.", 100 * store.summary()["coverage"])
    return {"coverage": store.summary()["coverage"]}


def _entries(
    store: PseudoLabelStore,
    pictured: Sequence[int],
    previous: PseudoLabelStore | None,
    after: Mapping[int, np.ndarray] | None,
) -> Iterator[ReportEntry]:
    for index in pictured:
        path = store.key.images[index]
        yield ReportEntry(
            path.name,
            read_image(path),
            store.read(index),
            before=previous.read_labels(index) if previous is not None else None,
            after=after[index] if after is not None else None,
        )
