"""The evaluator under Detectron2's name and arguments, for projects that have one already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from stseg.data import dataset_ignore_labels
from stseg.evaluation.run_summary import plain_vocabulary
from stseg.evaluation.sem_seg_evaluator import STSegSemSegEvaluator
from stseg.utils import some_of


class SemSegEvaluator(STSegSemSegEvaluator):
    """Takes the place of Detectron2's class of this name: its arguments, inputs and result keys.

    Needs nothing but what that class needs: `stuff_classes` and `ignore_label` in the metadata and
    "sem_seg_file_name" in the records. Differs in what it refuses by name (ids outside the classes,
    sizes that differ), in counting each image once, in writing no "sem_seg_predictions.json", and
    in boundary IoU, which is off unless asked for with `boundary=True`, and right.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] | None = None,
        num_classes: int | None = None,
        ignore_label: int | None = None,
        **more: Any,
    ) -> None:
        """See Detectron2.

        Args:
            dataset_name: a registered name.
            distributed: sum over all processes; else each evaluates what it was given.
            output_dir: as in `STSegSemSegEvaluator`.
            sem_seg_loading_fn: called with a label file and `dtype=int`; by default a reader of
                grey and palette files of 8 and 16 bits.
            num_classes: only checked against the metadata.
            ignore_label: instead of the metadata's.
            **more: as in `STSegSemSegEvaluator`.

        Raises:
            ValueError: if `num_classes` is not the number of `stuff_classes`.
        """
        names = tuple(MetadataCatalog.get(dataset_name).stuff_classes)
        if num_classes is not None and num_classes != len(names):
            raise ValueError(
                f"num_classes: expected {len(names)} as in the metadata of {dataset_name}, got "
                f"{num_classes}."
            )
        self._ignored = (
            dataset_ignore_labels(dataset_name) if ignore_label is None else (ignore_label,)
        )
        options: dict[str, Any] = {
            "vocabulary": plain_vocabulary(names),
            "ignore_labels": self._ignored,
        } | more
        super().__init__(dataset_name, output_dir=output_dir, distributed=distributed, **options)
        self.sem_seg_loading_fn = sem_seg_loading_fn

    def _read_label(self, path: str) -> np.ndarray:
        if self.sem_seg_loading_fn is None:
            return super()._read_label(path)
        ids = np.asarray(self.sem_seg_loading_fn(path, dtype=int))
        label, is_strange = replace(self.coding, ignore=tuple(self._ignored)).decode(ids)
        if is_strange.any():
            known = self.label_names if self.label_ids is None else self.label_ids
            raise ValueError(
                f"Label map {path}: expected ids 0 to {len(known) - 1} or the ignored "
                f"{', '.join(map(str, self._ignored))}, got {some_of(np.unique(ids[is_strange]))}."
            )
        return label
