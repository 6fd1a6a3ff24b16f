"""A benchmark split: where its files may lie, what the ids in them mean, and what is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stseg.data.datasets.class_lists import build_vocabulary, load_class_list
from stseg.data.datasets.listing import Naming, labels_below
from stseg.structures import Vocabulary

ROOT_VARIABLE = "DETECTRON2_DATASETS"


def data_root() -> Path:
    """Folder that holds all benchmarks: $DETECTRON2_DATASETS, or ./datasets, read at every call."""
    return Path(os.environ.get(ROOT_VARIABLE) or "datasets").expanduser()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of one split below the data root, as one family of projects lays them out.

    Attributes:
        convention: whose it is.
        image_dir: folder of the images below the data root, with forward slashes.
        label_dir: folder of the prepared label maps below the data root, "" for images only.
        ignore_labels: ids in the label FILES that carry no class; the first one is the official.
        labels_select: True where `image_dir` also holds images of other splits, or maps without
            any class were not written, so that the labels say which images belong to this split;
            an image without a label is no error then.
        image_list: the download's file below the data root that lists the stems of this split, one
            a line; "" takes the whole of `image_dir`. For images only.
        label_ids: for every id in the label FILES its class id, IGNORE_LABEL for none; None where
            the files hold class ids.
        withheld_by: stem of the zero-shot split that the label maps were written for, "" for none:
            one that holds an id of no seen class is refused.
        nested: images and labels lie in folders below, of the same names.
        image_ending: end of the images' stems that their partners lack or have otherwise.
        label_ending: the same of the label maps; files without it are no labels.
    """

    convention: str = "SED, CAT-Seg"
    image_dir: str
    label_dir: str
    ignore_labels: tuple[int, ...] = (255,)
    labels_select: bool = False
    image_list: str = ""
    label_ids: tuple[int, ...] | None = None
    withheld_by: str = ""
    nested: bool = False
    image_ending: str = ""
    label_ending: str = ""

    @property
    def naming(self) -> Naming:
        """How the files are called."""
        keys = ("nested", "image_ending", "label_ending", "labels_select")
        return Naming(**{key: getattr(self, key) for key in keys})


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Layout):
    """One benchmark split, in the layout that our scripts write.

    Attributes:
        name: name in Detectron2's DatasetCatalog.
        vocab: stem of the plain class list in `vocab/`, which names the class ids.
        prepared_by: NAME of `stseg data prepare NAME`, which writes what the download lacks, "" if
            it lacks nothing.
        background_id: None, or the label id that stands for "none of the first background_id
            classes". Predictions at or above it count as it (evaluator "sem_seg_background").
        asked: stem of the list the model is asked for instead of `vocab`, in its order; "" if none.
        split: stem of the zero-shot split in `vocab/splits/`, "" if none: its classes are marked.
        seen_only: class ids are those of the split's seen classes, counted through.
        others: layouts to look for where this one's files are missing, in this order.
    """

    name: str
    vocab: str
    prepared_by: str
    background_id: int | None = None
    asked: str = ""
    split: str = ""
    seen_only: bool = False
    others: tuple[Layout, ...] = ()

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """All layouts, this one first."""
        return (self, *self.others)

    @property
    def evaluator_type(self) -> str:
        """Key of the evaluator in `stseg.evaluation.EVALUATOR_REGISTRY`."""
        return "sem_seg" if self.background_id is None else "sem_seg_background"

    @property
    def vocabulary(self) -> Vocabulary:
        """What a model is asked for."""
        return build_vocabulary(self.asked or self.vocab, self.split, self.seen_only)

    @property
    def class_names(self) -> list[str]:
        """Names of the class ids (not the vocabulary's where background is folded)."""
        if self.seen_only:
            seen = build_vocabulary(self.vocab, self.split, seen_only=True)
            return [", ".join(names) for names in seen.synonyms]
        names = list(load_class_list(self.vocab))
        if self.background_id is None:
            return names
        return [*names[: self.background_id], "background"]

    @property
    def label_names(self) -> list[str]:
        """Names of the ids in the label files of this layout."""
        if self.label_ids is None:
            return self.class_names
        if self.seen_only:
            return list(load_class_list(self.vocab))
        return [self.class_names[i] for i in self.label_ids]


def present_layouts(layouts: Sequence[Layout], root: Path) -> list[Layout]:
    """Those layouts whose folders lie below a root, in their order.

    A folder without a single label map does not count: peers' scripts make folders that they
    never fill.
    """
    return [layout for layout in layouts if is_present(layout, root)]


def is_present(layout: Layout, root: Path) -> bool:
    """Whether a layout's folders lie below a root, see `present_layouts`."""
    if not (root / layout.image_dir).is_dir():
        return False
    if layout.image_list and not (root / layout.image_list).is_file():
        return False
    labels = root / layout.label_dir
    return not layout.label_dir or (labels.is_dir() and any(labels_below(labels, layout.naming)))
