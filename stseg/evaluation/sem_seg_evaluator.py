"""Detectron2 evaluator over the NumPy core."""

from __future__ import annotations

import json
import logging
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from stseg.data.datasets import dataset_ignore_labels, dataset_vocabulary
from stseg.data.image_io import read_label
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.structures import IGNORE_LABEL, Vocabulary

logger = logging.getLogger(__name__)

# Filled cells of one image's confusion matrix: flat index and count. A few hundred at most where
# the whole matrix has up to 847 x 847 cells.
_Cells = tuple[np.ndarray, np.ndarray]


class STSegSemSegEvaluator(DatasetEvaluator):
    """Mean IoU and its relatives over a registered data set.

    Counts are kept per image until the end: samplers that share a data set out evenly repeat
    images, possibly on another process, and each image counts once.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | None = None,
        vocabulary: Vocabulary | None = None,
        fold_background: bool = False,
    ) -> None:
        """Read names and ignored ids from metadata.

        Args:
            dataset_name: a registered name.
            output_dir: folder for "sem_seg_evaluation.json"; None writes nothing.
            vocabulary: what the model was asked for, with seen marks; the data set's by default.
            fold_background: the last label id stands for every class from that id on.
        """
        self.dataset_name = dataset_name
        self.output_dir = output_dir
        self.vocabulary = vocabulary or dataset_vocabulary(dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        self.label_names = tuple(getattr(metadata, "stuff_classes", self.vocabulary.names))
        self.ignore_labels = dataset_ignore_labels(dataset_name)
        self.fold_background = fold_background
        if not fold_background and len(self.label_names) != len(self.vocabulary):
            raise ValueError(
                f"Data set {dataset_name}: expected a vocabulary of {len(self.label_names)} "
                f"classes as in its labels, got {len(self.vocabulary)}."
            )
        self._cells: dict[str, _Cells] = {}

    def reset(self) -> None:
        """Forget all counts."""
        self._cells = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Count a batch.

        Args:
            inputs: model inputs, with "file_name" and "sem_seg_file_name".
            outputs: for each a dict with "sem_seg" (T, H, W), higher is likelier, of the label
                map's size.

        Raises:
            ValueError: if T or the size does not fit, or the label map is missing or faulty.
        """
        for item, output in zip(inputs, outputs, strict=True):
            if item["file_name"] not in self._cells:
                self._cells[item["file_name"]] = self._count(item, output["sem_seg"])

    def _count(self, item: dict[str, Any], scores: torch.Tensor) -> _Cells:
        name = item["file_name"]
        if scores.shape[0] != len(self.vocabulary):
            raise ValueError(
                f"{name}: expected scores of {len(self.vocabulary)} classes "
                f"({self.dataset_name}), got {scores.shape[0]}."
            )
        if item.get("sem_seg_file_name") is None:
            raise ValueError(
                f"{name}: expected a label map, got none. Evaluate data sets with a label folder."
            )
        prediction = scores.argmax(dim=0).cpu().numpy()
        if self.fold_background:
            prediction = np.minimum(prediction, len(self.label_names) - 1)
        label = read_label(item["sem_seg_file_name"], len(self.label_names), self.ignore_labels)
        matrix = ConfusionMatrix(len(self.label_names))
        matrix.update(prediction, label, IGNORE_LABEL, f"{name} and {item['sem_seg_file_name']}")
        cells = np.flatnonzero(matrix.counts)
        return cells.astype(np.int32), matrix.counts.ravel()[cells].astype(np.int32)

    def confusion(self) -> ConfusionMatrix | None:
        """Sum over the images of all processes; None on all but the main process."""
        gathered = comm.gather(self._cells)
        if not comm.is_main_process():
            return None
        total = ConfusionMatrix(len(self.label_names))
        flat = total.counts.reshape(-1)
        for cells, counts in {k: v for part in gathered for k, v in part.items()}.values():
            flat[cells] += counts
        return total

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Gather and compute; every process must call this.

        Returns:
            None on all but the main process, else {"sem_seg": figures in percent}: "mIoU"
            (classes in the truth), "mIoU_union", "fwIoU", "mACC", "pACC"; "seen mIoU" and
            "unseen mIoU" where the vocabulary marks both; "IoU-<name>" and "ACC-<name>", NaN for
            classes absent from the truth.
        """
        matrix = self.confusion()
        if matrix is None:
            return None
        figures = matrix.summary()
        result = {"mIoU": figures.pop("mIoU_gt"), **figures, **self._seen_figures(matrix)}
        iou, accuracy = matrix.iou(), matrix.accuracy()
        for i, name in enumerate(self.label_names):
            result[f"IoU-{name}"] = iou[i]
            result[f"ACC-{name}"] = accuracy[i]
        result = {key: 100.0 * float(value) for key, value in result.items()}
        logger.info(
            "%s: %s",
            self.dataset_name,
            ", ".join(
                f"{k} {v:.2f}" for k, v in result.items() if not k.startswith(("IoU", "ACC"))
            ),
        )
        if self.output_dir:
            self._write(result)
        return OrderedDict({"sem_seg": result})

    def _seen_figures(self, matrix: ConfusionMatrix) -> dict[str, float]:
        marks = self.vocabulary.seen
        if marks is None or len(marks) != matrix.num_classes or len(set(marks)) < 2:
            return {}
        seen = np.array(marks)
        return {"seen mIoU": matrix.mean_iou(seen), "unseen mIoU": matrix.mean_iou(~seen)}

    def _write(self, result: dict[str, float]) -> None:
        folder = Path(self.output_dir or "")
        folder.mkdir(parents=True, exist_ok=True)
        # JSON has no NaN: absent classes become null.
        content = {k: None if math.isnan(v) else v for k, v in result.items()}
        path = folder / "sem_seg_evaluation.json"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
