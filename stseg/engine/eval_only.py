"""`train_net.py --eval-only`, and one temperature for a system's confidences on the way."""

import logging
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import inference_context, verify_results
from detectron2.utils import comm
from torch import nn
from tqdm import tqdm

from stseg.checkpoint import (
    WeightFacts,
    load_for_evaluation,
    read_checkpoint,
    spare_encoder_files,
    weights_file,
)
from stseg.data import build_test_loader
from stseg.engine.screen import tell_written
from stseg.engine.trainer import Trainer
from stseg.evaluation import ConfidenceHistogram, STSegSemSegEvaluator, build_evaluator
from stseg.modeling.scores import LabelMapModel
from stseg.utils import check_output, write_atomically

logger = logging.getLogger(__name__)


def evaluate_weights(cfg: CfgNode, args: Namespace) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with --resume a run's, on all of DATASETS.TEST.

    Args:
        cfg: of the run; changed.
        args: of `parse_args`.

    Returns:
        The results, {} on other ranks than 0.
    """
    if not cfg.DATASETS.TEST:
        logger.warning("DATASETS.TEST is empty: nothing is evaluated.")
    run, since = cfg.OUTPUT_DIR if args.resume else "", time.time()
    model = Trainer.build_model(spare_encoder_files(cfg, run))
    load_for_evaluation(model, cfg.MODEL.WEIGHTS, run)
    weights = weights_file(cfg.MODEL.WEIGHTS, run)
    if args.calibrate:
        calibrate(cfg, model, weights, args.calibrate)
        weights = args.calibrate
    cfg.defrost()
    cfg.TEST.EVALUATOR.WEIGHTS = weights
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
        tell_written(cfg.OUTPUT_DIR, since)
    return results


def calibrate(cfg: CfgNode, model: nn.Module, weights: str, target: str) -> float:
    """Fit the temperature on DATASETS.TEST, set it, and write the weights with it.

    Fit it on development images of what the system learnt from, never on the target's labels. No
    class changes its rank; gate, "unknown" and every confidence go by it from then on.

    Args:
        cfg: of the run.
        model: the bare segmentor with its weights; its `facts` change.
        weights: the file that they came from.
        target: file to write.

    Returns:
        The temperature, the same on all ranks.

    Raises:
        ValueError: if there is no labelled pixel, no file of weights, a model that is none of this
            project's systems, or another file is in the way.
    """
    if not weights or not hasattr(model, "facts"):
        raise ValueError(
            "--calibrate: expected one of this project's systems and a file of its weights, got "
            f"{type(model).__name__} and MODEL.WEIGHTS {cfg.MODEL.WEIGHTS!r}."
        )
    check_output(target, "--calibrate", {"MODEL.WEIGHTS": weights}, _is_calibrated)
    model.facts = replace(model.facts, temperature=1.0)
    histogram = comm.all_gather(_confidences(cfg, model))[0]
    model.facts = replace(model.facts, temperature=histogram.temperature())
    logger.info(
        "Temperature %.4f on %s; their calibration error without it is %.2f %%.",
        model.facts.temperature,
        ", ".join(cfg.DATASETS.TEST),
        100 * histogram.ece(),
    )
    if comm.is_main_process():
        content = read_checkpoint(weights)
        kept = {name: content[name] for name in ("model", "ema") if content.get(name)}
        kept |= model.facts.beside()
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: torch.save(kept, file))
    comm.synchronize()
    return model.facts.temperature


def _confidences(cfg: CfgNode, model: nn.Module) -> ConfidenceHistogram | None:
    """Of all images, counted as in evaluation; None on other ranks than 0."""
    histogram, answers = None, LabelMapModel(model)
    is_silent = not comm.is_main_process()
    for name in cfg.DATASETS.TEST:
        evaluator = build_evaluator(cfg, name)
        if not isinstance(evaluator, STSegSemSegEvaluator):
            raise ValueError(
                "--calibrate: expected data sets that this project's evaluator counts, got "
                f"{name}, whose evaluator is {type(evaluator).__name__}. Leave it out of "
                "DATASETS.TEST."
            )
        evaluator.reset()
        with inference_context(model), torch.no_grad():
            for batch in tqdm(build_test_loader(cfg, name), "calibrate", disable=is_silent):
                evaluator.process(batch, answers(batch))
        found = evaluator.confidences()
        if histogram is not None:
            histogram.merge(found)
        else:
            histogram = found
    return histogram


def _is_calibrated(path: Path) -> bool:
    try:
        return WeightFacts.of(read_checkpoint(str(path))).temperature != 1
    except ValueError:
        return False
