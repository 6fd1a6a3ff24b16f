"""What a data set ought to be: the measure for every check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stseg.config import is_folder, split_keys, typed_keys
from stseg.data import CODING_KEYS, PLAIN_NAMES, LabelCoding, Naming, coding_of
from stseg.structures import IGNORE_LABEL, Vocabulary
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
        naming: how the files are called.
        listed: file that names the images, None for all of them.
        coding: what the values in the label files mean, None where that is not the user's to say.
            Where they are not class ids, all ids here are those that they stand for, `ignore` is
            `IGNORE_LABEL`, and values without a meaning are counted apart.
        cure: how to make the label maps anew; "" for data of one's own.
        withheld: ids that must not occur (unseen classes of a zero-shot training split).
    """

    name: str
    names: tuple[str, ...]
    ignore: tuple[int, ...]
    image_dir: Path | None = None
    label_dir: Path | None = None
    naming: Naming = PLAIN_NAMES
    listed: Path | None = None
    coding: LabelCoding | None = None
    cure: str = ""
    withheld: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """The benchmark these names belong to, "" if none that is known."""
        if self.own_coding is not None:
            return ""
        first = self.names[0].split(",")[0] if self.names else ""
        return _FAMILIES.get((len(self.names), first), "")

    @property
    def own_coding(self) -> LabelCoding | None:
        """What the values mean, None where they are class ids."""
        return None if self.coding is None or self.coding.is_plain else self.coding

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
        labels: folder of label maps, "" for images only; keys of the format `folder` may follow,
            "labels,values=0:0,255:1".
        names_file: .txt or .json that `Vocabulary.parse` reads.

    Raises:
        FileNotFoundError: if a folder or the file is missing.
        ValueError: if the names or a key are faulty.
    """
    labels, keys = (labels, {}) if Path(labels).expanduser().is_dir() else split_keys(labels)
    for what, path in (("image folder", images), ("label folder", labels)):
        if path and not is_folder(path):
            raise FileNotFoundError(f"Data set {name}: expected the {what} {path}, got none there.")
    file = Path(names_file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"Data set {name}: expected the names file {file}, got none there.")
    vocabulary = Vocabulary.parse(file)
    coding, naming, listed = _keys(name, vocabulary, file, keys)
    return Target(
        name=name,
        names=vocabulary.names,
        ignore=coding.ignore if coding.is_plain else (IGNORE_LABEL,),
        naming=naming,
        listed=listed,
        coding=coding,
        image_dir=Path(images).expanduser().absolute(),
        label_dir=Path(labels).expanduser().absolute() if labels else None,
    )


def _keys(
    name: str, vocabulary: Vocabulary, names_file: Path, texts: dict[str, str]
) -> tuple[LabelCoding, Naming, Path | None]:
    """Coding, names of the files and list of images out of the keys of `--folder`."""
    keys = typed_keys(texts, f"Data set {name}")
    naming = Naming(**{key: keys.pop(key) for key in vars(Naming()) if key in keys})
    listed = Path(keys.pop("split")).expanduser() if "split" in keys else None
    if listed is not None and not listed.is_file():
        raise FileNotFoundError(
            f"Data set {name}, split: expected a list of images, got no file at {listed}."
        )
    if strange := keys.keys() - set(CODING_KEYS):
        raise ValueError(
            f"Data set {name}: expected the keys {', '.join((*CODING_KEYS, *vars(Naming())))} and "
            f"split, got {', '.join(strange)}. Remove it."
        )
    where = f"Data set {name}"
    return coding_of(vocabulary, names_file, where=where, **keys), naming, listed
