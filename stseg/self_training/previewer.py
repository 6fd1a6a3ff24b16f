"""Labels of a few images, on a page, before anything is trained."""

import logging
from dataclasses import replace
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from stseg.self_training.dataset_labeler import DatasetLabeler, spread
from stseg.self_training.round_page import write_round_page
from stseg.self_training.target import load_target, write_seen

logger = logging.getLogger(__name__)


def write_preview(cfg: CfgNode, model: nn.Module, count: int) -> dict[str, float]:
    """Make the pseudo-labels of round 1 for some images, and the page; all ranks together.

    Args:
        cfg: of the run; its OUTPUT_DIR/self_training/preview gets the files.
        model: the bare segmentor with the starting weights.
        count: images, spread evenly over the set.

    Returns:
        {"coverage": share of their pixels that carry a label}.
    """
    whole = load_target(cfg)
    chosen = tuple(whole.records[i] for i in spread(count, len(whole.records)))
    target = replace(whole, records=chosen)
    labeler = DatasetLabeler(cfg, target, model)
    folder = Path(cfg.OUTPUT_DIR) / "self_training" / "preview"
    store = labeler.store(folder, 1, labeler.digest(model))
    labeler.fill(store, model, range(len(chosen)))
    if comm.is_main_process():
        write_seen(cfg, target, folder)
        write_round_page(folder, store, range(len(chosen)), target)
        logger.info("%.1f %% of the pixels get a label.", 100 * store.summary()["coverage"])
    return {"coverage": store.summary()["coverage"]}
