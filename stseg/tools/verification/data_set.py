"""What a data set ought to be: the measure for every check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stseg.data import ignore_label
from stseg.structures import Vocabulary
from stseg.tools.verification.finding import Finding

# Number of classes and first name in the label files -> the benchmark whose variants are known.
_FAMILIES = {
    (171, "person"): "coco-stuff",
    (150, "wall"): "ade-150",
    (847, "wall"): "ade-847",
    (59, "aeroplane"): "context-59",
    (459, "accordion"): "context-459",
    (20, "aeroplane"): "voc-20",
    (21, "aeroplane"): "voc-20b",
    (21, "background"): "voc-21",
    (19, "road"): "cityscapes",
}


@dataclass(frozen=True)
class Pair:
    """An image and its label map; "" where a data set has images only."""

    image: str
    label: str = ""


@dataclass(frozen=True)
class Target:
    """A data set and what its files should hold.

    Attributes:
        name: of the data set.
        names: of the ids 0 .. N - 1 in the label files.
        ignore: ids in the label files that carry no class.
        image_dir: folder of the images, None where records only say where they lie.
        label_dir: folder of the label maps, None likewise or without labels.
        labels_select: images without a label belong to other splits.
        nested: files lie in folders below, of the same names for images and labels.
        image_ending: end of the images' stems that their labels lack or have otherwise.
        label_ending: the same of the labels; files without it are no labels.
        cure: how to make the label maps anew; "" for data of one's own.
        withheld: ids that must not occur (unseen classes of a zero-shot training split).
    """

    name: str
    names: tuple[str, ...]
    ignore: tuple[int, ...]
    image_dir: Path | None = None
    label_dir: Path | None = None
    labels_select: bool = False
    nested: bool = False
    image_ending: str = ""
    label_ending: str = ""
    cure: str = ""
    withheld: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """The benchmark these names belong to, "" if none that is known."""
        first = self.names[0].split(",")[0] if self.names else ""
        return _FAMILIES.get((len(self.names), first), "")

    @property
    def remedy(self) -> str:
        """How to get right label maps."""
        return self.cure or "Make the label maps anew, or give the names that belong to them."


@dataclass(frozen=True)
class Listed:
    """A target and its files, as far as there are any.

    Attributes:
        target: the measure.
        pairs: files that belong together.
        findings: what was noticed while pairing.
        absent: why there is nothing to look at, "" if there is.
        is_prepared: False where the images are there and the label maps are not.
    """

    target: Target
    pairs: tuple[Pair, ...] = ()
    findings: tuple[Finding, ...] = ()
    absent: str = ""
    is_prepared: bool = True


def folder_target(name: str, images: str, labels: str, names_file: str) -> Target:
    """A data set given as folders, like an entry of DATASETS.FOLDERS.

    Args:
        name: to call it.
        images: folder of images.
        labels: folder of label maps, "" for images only.
        names_file: .txt or .json that `Vocabulary.parse` reads.

    Raises:
        FileNotFoundError: if a folder or the file is missing.
        ValueError: if the names are faulty.
    """
    for what, path in (("image folder", images), ("label folder", labels)):
        if path and not Path(path).expanduser().is_dir():
            raise FileNotFoundError(f"Data set {name}: expected the {what} {path}, got none there.")
    file = Path(names_file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"Data set {name}: expected the names file {file}, got none there.")
    vocabulary = Vocabulary.parse(file)
    return Target(
        name=name,
        names=vocabulary.names,
        ignore=(ignore_label(file, len(vocabulary)),),
        image_dir=Path(images).expanduser().absolute(),
        label_dir=Path(labels).expanduser().absolute() if labels else None,
    )
