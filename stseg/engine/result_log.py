"""What is shown and kept of evaluation results: nested dicts of data set, task and metric."""

import logging
import math
import os
from typing import Any

from tabulate import tabulate

from stseg.checkpoint import write_json

logger = logging.getLogger(__name__)


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Results without those of single classes, which would be hundreds of curves."""
    return {
        key: summary(value) if isinstance(value, dict) else value
        for key, value in results.items()
        if isinstance(value, dict) or not _is_per_class(key)
    }


def report(results: dict[str, dict[str, dict[str, float]]], output_dir: str) -> None:
    """Log one table per data set and write ``results.json``, atomically.

    Args:
        results: {data set: {task: {metric: value}}}; the file has the same form, with null for
            what is not a number (classes that do not occur).
        output_dir: made if missing.
    """
    for name, tasks in results.items():
        rows = [
            (task, metric, value)
            for task, metrics in summary(tasks).items()
            for metric, value in metrics.items()
        ]
        table = tabulate(rows, headers=("task", "metric", "value"), floatfmt=".3f")
        logger.info("Results on %s:\n%s", name, table)
    os.makedirs(output_dir, exist_ok=True)
    write_json(os.path.join(output_dir, "results.json"), _plain(results))


def _is_per_class(metric: str) -> bool:
    # "IoU-wall", "ACC-wall": the names of Detectron2 and of our evaluators.
    return "-" in metric


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    number = float(value)
    return None if math.isnan(number) else number
