"""What is shown and kept of evaluation results: nested dicts of data set, task and metric."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from stseg.evaluation import Figures, class_table, write_results

logger = logging.getLogger(__name__)

#: How the names of single classes' metrics begin with evaluators of other projects.
_OF_ONE_CLASS = ("IoU-", "ACC-", "BoundaryIoU-", "AP-")


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results without those of single classes, which would be hundreds of curves."""
    if isinstance(results, Figures):
        return results.overall
    return {
        key: summary(value) if isinstance(value, dict) else value
        for key, value in results.items()
        if not key.startswith(_OF_ONE_CLASS)
    }


def report(results: Mapping[str, dict[str, dict[str, float]]], output_dir: str) -> None:
    """Log a table per data set and write ``results.json``, see `stseg.evaluation.write_results`.

    It is one of classes, since our evaluator logs the overall figures; for other projects'
    evaluators one of overall figures.

    Args:
        results: {data set: {task: {metric: value}}}.
        output_dir: made if missing.
    """
    ours, others = {}, {}
    for name, tasks in results.items():
        rows = []
        for task, metrics in tasks.items():
            if isinstance(metrics, Figures):
                ours[name] = metrics.result
                logger.info("Classes of %s:\n%s", name, class_table(metrics.result))
                continue
            others.setdefault(name, {})[task] = metrics
            rows += [(task, metric, value) for metric, value in summary(metrics).items()]
        if rows:
            table = tabulate(rows, headers=("task", "metric", "value"), floatfmt=".3f")
            logger.info("Results on %s:\n%s", name, table)
    write_results(os.path.join(output_dir, "results.json"), ours, others)
