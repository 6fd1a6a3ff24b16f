"""Detectron2 evaluator over the NumPy core."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import nn

from stseg.data import (
    dataset_label_coding,
    dataset_vocabulary,
)
from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.image_counts import ImageCounts, merge_totals
from stseg.evaluation.open_vocab import check_similarity
from stseg.evaluation.results import make_provenance, write_result
from stseg.evaluation.run_summary import Figures, plain_vocabulary, run_result, short_names
from stseg.evaluation.scoring import Score, Settings, warn_of_ignored_classes
from stseg.structures import Vocabulary

logger = logging.getLogger(__name__)

_STATE = "sem_seg_state_{}.npz"
_PACKAGES = ("stseg", "numpy", "pillow", "torch", "detectron2")


class STSegSemSegEvaluator(DatasetEvaluator):
    """Mean IoU and its relatives over a registered data set.

    Counts are kept per image until the end, as a few filled cells each: samplers that share a data
    set out evenly repeat images, possibly on another process, and each image counts once. Between
    processes go the names of the images and sums, never the images' counts.

    Attributes:
        takes_label_maps: whether `process` is content with label maps; our Trainer then never asks
            the model for the probabilities of all classes. A subclass that reads them says False.
        is_running: between `reset` and `evaluate`.
    """

    takes_label_maps = True

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | None = None,
        vocabulary: Vocabulary | None = None,
        ignore_labels: Sequence[int] | None = None,
        fold_background: bool = False,
        boundary: bool = False,
        similarity: np.ndarray | None = None,
        bootstrap: int = 0,
        seed: int = 0,
        weights: str | PathLike[str] | None = None,
        save_every: int = 0,
        resume: bool = False,
        distributed: bool = True,
    ) -> None:
        """Read names and ignored ids from metadata.

        Args:
            dataset_name: a registered name.
            output_dir: folder for "sem_seg_result.json" (for `python -m stseg.evaluation compare`
                and `report`) and the state; None writes nothing.
            vocabulary: what the model was asked for, with seen marks; the data set's by default.
            ignore_labels: ids without a class in the label files; the metadata's by default.
            fold_background: the last label id stands for every class from that id on.
            boundary: boundary IoU too.
            similarity: (N, N) in [0, 1], rows the truth, how near two names are: open mIoU too,
                with credit for near names.
            bootstrap: replicates for a 95 % interval and a paired test; 0 for none.
            seed: of the bootstrap.
            weights: file of the model; its hash goes into the result and guards the state.
            save_every: images of this process after which the state is saved; 0 for never.
            resume: `reset` goes on from a saved state. A finished evaluation leaves none.
            distributed: sum over all processes; else each evaluates what it was given.
        """
        metadata = MetadataCatalog.get(dataset_name)
        if (save_every or resume) and not output_dir:
            raise ValueError("output_dir: expected a folder to save the state in, got none.")
        self.dataset_name = dataset_name
        self.output_dir = output_dir
        self.vocabulary = vocabulary or dataset_vocabulary(dataset_name)
        self.label_names = tuple(getattr(metadata, "stuff_classes", self.vocabulary.names))
        coding = dataset_label_coding(dataset_name)
        # Others mark "none" by -1, which no file holds.
        ignored = coding.ignore if ignore_labels is None else ignore_labels
        self.ignore_labels = tuple(i for i in ignored if i >= 0)
        self.coding = replace(coding, num_classes=len(self.label_names), ignore=self.ignore_labels)
        self.label_ids = coding.label_ids
        self.fold_background = fold_background
        self.save_every = save_every
        self.resume = resume
        if not fold_background and len(self.label_names) != len(self.vocabulary):
            raise ValueError(
                f"Data set {dataset_name}: expected a vocabulary of {len(self.label_names)} "
                f"classes as in its labels, got {len(self.vocabulary)}."
            )
        if similarity is not None:
            check_similarity(similarity, len(self.label_names))
        self._similarity = similarity
        self._settings = Settings(
            num_classes=len(self.label_names),
            ignore=self.coding.ignored_ids,
            fold_background=fold_background,
            boundary=boundary,
            replicates=bootstrap,
            seed=seed,
        )
        if self.label_ids is None:
            warn_of_ignored_classes(self.ignore_labels, self.label_names)
        self._distributed = distributed
        self._provenance = make_provenance(weights=weights, packages=_PACKAGES)
        self._label_files: dict[str, str | None] | None = None
        self._counts = ImageCounts(self._settings)
        self._unsaved = 0
        self.is_running = False

    def reset(self) -> None:
        """Forget all counts, but for a saved state where the evaluator resumes."""
        self._counts = ImageCounts(self._settings)
        self._unsaved = 0
        self.is_running = True
        if self.resume:
            self.load_state()
            if self._distributed:  # nobody may save before all have loaded
                comm.synchronize()

    def is_counted(self, file_name: str) -> bool:
        """Whether this process has counted an image, to be asked before running a model on it."""
        return file_name in self._counts

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Count a batch; images that were counted are passed over.

        Args:
            inputs: model inputs, with "file_name" and, unless the data set's records have it,
                "sem_seg_file_name".
            outputs: for each a dict with "sem_seg" of the label map's size, tensor or array: scores
                (T, H, W), higher is likelier, or integer class ids (H, W), which may also be called
                "label_map"; and, if there is any, "confidence" (H, W) in [0, 1] for the calibration
                error.

        Raises:
            ValueError: if T or the size does not fit, or the label map is missing or faulty.
            FloatingPointError: if a score or a confidence is not a number.
        """
        for item, output in zip(inputs, outputs, strict=True):
            if item["file_name"] not in self._counts:
                self._count(item, output)

    def _count(self, item: dict[str, Any], output: dict[str, Any]) -> None:
        name = item["file_name"]
        answer = output["label_map"] if "label_map" in output else output["sem_seg"]
        prediction = self._ids(name, torch.as_tensor(answer))
        confidence = output.get("confidence")
        if confidence is not None:
            confidence = torch.as_tensor(confidence).detach().float()
            _refuse_nan(name, confidence)
            confidence = confidence.cpu().numpy()
        label_file = self._label_file(item)
        label = self._read_label(label_file)
        self._counts.add(name, prediction, label, confidence, f"{name} and {label_file}")
        self._unsaved += 1
        if self.save_every and self._unsaved >= self.save_every:
            self.save_state()

    def _ids(self, name: str, answer: torch.Tensor) -> np.ndarray:
        """(H, W) integer ids out of scores or ids."""
        if answer.ndim == 2 and not (answer.is_floating_point() or answer.dtype == torch.bool):
            return answer.cpu().numpy()
        if answer.ndim != 3:
            raise ValueError(
                f'{name}: expected "sem_seg" of scores (T, H, W) or integer ids (H, W), got '
                f"{answer.dtype} of shape {tuple(answer.shape)}."
            )
        if answer.shape[0] != len(self.vocabulary):
            raise ValueError(
                f"{name}: expected scores of {len(self.vocabulary)} classes "
                f"({self.dataset_name}), got {answer.shape[0]}."
            )
        ids = answer.argmax(dim=0)
        if answer.is_floating_point():  # what is not a number counts as the highest
            _refuse_nan(name, answer.gather(0, ids[None]))
        return ids.cpu().numpy()

    def _label_file(self, item: dict[str, Any]) -> str:
        """Of the item, or of the data set: Detectron2's own mapper drops it for tests."""
        found = item.get("sem_seg_file_name")
        if found is None:
            if self._label_files is None:
                self._label_files = {
                    record["file_name"]: record.get("sem_seg_file_name")
                    for record in DatasetCatalog.get(self.dataset_name)
                }
            found = self._label_files.get(item["file_name"])
        if found is None:
            raise ValueError(
                f"{item['file_name']}: expected a label map, got none. Evaluate data sets with a "
                "label folder."
            )
        return found

    def _read_label(self, path: str) -> np.ndarray:
        """(H, W) in [0, N), `IGNORE_LABEL` where not scored."""
        return self.coding.read(path)

    def save_state(self) -> None:
        """Write this process's counts into the output folder."""
        if not self.output_dir:
            raise ValueError("output_dir: expected a folder to save the state in, got none.")
        path = Path(self.output_dir) / _STATE.format(comm.get_rank())
        path.parent.mkdir(parents=True, exist_ok=True)
        self._counts.save(path, self._protocol())
        self._unsaved = 0

    def load_state(self) -> None:
        """Add this process's share of what was saved, by any number of processes, to its counts.

        Raises:
            ValueError: if it was saved under another protocol or is damaged; names the file.
        """
        if not self.output_dir:
            raise ValueError("output_dir: expected a folder to load the state from, got none.")
        files = self._states()[comm.get_rank() :: comm.get_world_size()]
        for path in files:
            self._counts.load(path, self._protocol())
        if files:
            logger.info("%s: going on after %d images.", self.dataset_name, len(self._counts.names))

    def _states(self) -> list[Path]:
        return sorted(Path(self.output_dir or "").glob(_STATE.format("*")))

    def _protocol(self) -> dict[str, Any]:
        return {
            "data set": self.dataset_name,
            "vocabulary": self.vocabulary.key,
            "label names": plain_vocabulary(self.label_names).key,
            "settings": vars(self._settings),
            "label ids": None if self.label_ids is None else list(self.label_ids),
            "label values": self.coding.values
            and [self.coding.is_colour, *map(list, self.coding.values)],
            "weights": self._provenance["weights"],
        }

    def confusion(self) -> ConfusionMatrix | None:
        """Sum over the images of all processes; None on all but the main process."""
        total = self._total()
        return None if total is None else total[0].matrix

    def confidences(self) -> ConfidenceHistogram | None:
        """Of all scored pixels that came with one; None on all but the main process."""
        total = self._total()
        return None if total is None else total[1]

    def _total(self) -> tuple[Score, ConfidenceHistogram, int] | None:
        listed = self._collect(comm.all_gather, self._counts.names)
        # An image that several processes saw is summed by the first of them.
        owner = {name: rank for rank in reversed(range(len(listed))) for name in listed[rank]}
        rank = comm.get_rank() if self._distributed else 0
        known_as = short_names(
            list(owner), getattr(MetadataCatalog.get(self.dataset_name), "image_root", "")
        )
        mine = {name: known_as[name] for name in self._counts.names if owner[name] == rank}
        parts = self._collect(comm.gather, self._counts.total(mine))
        if self._distributed and not comm.is_main_process():
            return None
        return merge_totals(parts, self._settings)

    def _collect(self, gather: Callable[[Any], list[Any]], content: Any) -> list[Any]:
        return gather(content) if self._distributed else [content]

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """Gather and compute; every process must call this.

        Returns:
            None on all but the main process, else {"sem_seg": `Figures`, in percent}: "mIoU"
            (classes in the truth), "mIoU_union", "fwIoU", "mACC", "pACC"; "seen mIoU", "unseen
            mIoU" and "harmonic mIoU" where the vocabulary marks both, and these three under the
            union definition, with "mIoU_union" in their names; "mIoU_low" and "mIoU_high"
            with a bootstrap; "ECE" and "AURC" where every image came with confidences;
            "boundary_mIoU_gt", "boundary_mIoU_union", "BoundaryIoU-<name>" and "open_mIoU_gt"
            where asked for, and "open_mIoU_union";
            "IoU-<name>" and "ACC-<name>", NaN for classes absent from the truth.
        """
        self.is_running = False
        total = self._total()
        if total is None:
            return None
        score, histogram, confident = total
        if 0 < confident < len(score.images):
            logger.warning(
                "%s: %d of %d images came with confidences. ECE and AURC are left out.",
                self.dataset_name,
                confident,
                len(score.images),
            )
        complete = histogram if confident and confident == len(score.images) else None
        result = run_result(
            score,
            self._label_vocabulary(),
            self.dataset_name,
            complete,
            self._provenance,
            self._similarity,
        )
        figures = Figures(result, self.label_names)
        shown = ", ".join(f"{k} {v:.2f}" for k, v in figures.overall.items())
        logger.info("%s: %s", self.dataset_name, shown)
        if self.output_dir:
            write_result(Path(self.output_dir) / "sem_seg_result.json", result)
            for path in self._states():  # which a later evaluation must not find
                path.unlink()
        return OrderedDict({"sem_seg": figures})

    def _label_vocabulary(self) -> Vocabulary:
        """Names of the label ids, with seen marks where they tell two sides apart."""
        marks = self.vocabulary.seen
        if len(self.vocabulary) != len(self.label_names):
            return plain_vocabulary(self.label_names)
        return (
            self.vocabulary
            if marks and len(set(marks)) == 2
            else replace(self.vocabulary, seen=None)
        )


class ResumedModel(nn.Module):
    """A model that is not run on the images which the evaluator of the moment has counted."""

    def __init__(self, model: nn.Module, evaluators: Sequence[STSegSemSegEvaluator]) -> None:
        """Wrap the model, in the mode that it is in; evaluators take turns, one per data set."""
        super().__init__()
        self.model = model
        self.training = model.training
        self._evaluators = evaluators

    def forward(self, inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The model's outputs, empty for counted images, which evaluators pass over."""
        asked = [item for item in inputs if not self._is_counted(item)]
        outputs = iter(self.model(asked) if asked else ())
        return [{} if self._is_counted(item) else next(outputs) for item in inputs]

    def _is_counted(self, item: dict[str, Any]) -> bool:
        name = item["file_name"]
        return any(e.is_counted(name) for e in self._evaluators if e.is_running)


def _refuse_nan(name: str, values: torch.Tensor) -> None:
    pixels = int(torch.isnan(values).sum())
    if pixels:
        raise FloatingPointError(
            f"{name}: expected scores that are numbers, got NaN at {pixels} of {values.numel()} "
            "pixels. Check the model's weights, and its precision if it is not float32."
        )
