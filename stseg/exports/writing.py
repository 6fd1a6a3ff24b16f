"""All formats by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from stseg.exports.as_coco import write_coco
from stseg.exports.as_cvat import write_cvat
from stseg.exports.as_label_studio import write_label_studio
from stseg.exports.as_labelme import write_labelme
from stseg.exports.as_yolo import write_yolo
from stseg.exports.labelled import Labelled, checked

_Writer = Callable[[Sequence[str], Iterator[Labelled], Path], list[Path]]


class _Format(NamedTuple):
    """How it is written, and what it asks of names, see `checked`."""

    write: _Writer
    by_name: bool
    by_stem: bool


_FORMATS = {
    "coco": _Format(write_coco, by_name=False, by_stem=False),
    "yolo": _Format(write_yolo, by_name=False, by_stem=True),
    "labelme": _Format(write_labelme, by_name=True, by_stem=True),
    "cvat": _Format(write_cvat, by_name=True, by_stem=False),
    "label_studio": _Format(write_label_studio, by_name=True, by_stem=False),
}
EXPORT_KINDS = tuple(_FORMATS)


def write_export(kind: str, results: Iterable[Labelled], folder: str | PathLike[str]) -> list[Path]:
    """Write label maps in the format of another program.

    Every pixel comes back by the format's own rule; pixels without a class are in no object. The
    results are taken one by one, so that a generator may read or predict them; no label map is
    kept. Images are not copied.

    Args:
        kind: "coco" (annotations.json), "yolo" (data.yaml, labels/<stem>.txt), "labelme"
            (<stem>.json), "cvat" (annotations.xml) or "label_studio" (tasks.json,
            label_config.xml).
        results: `LabelledImage` or alike, of one vocabulary.
        folder: made if missing.

    Returns:
        The files written.

    Raises:
        ValueError: if there is no such kind, no result, names differ among results or (for formats
            that tell classes by name) repeat, two images share a name (a stem, where every image
            has a file of its own), a label map is faulty, or a file is there that no export left.
    """
    if kind not in _FORMATS:
        raise ValueError(f"Export: expected one of {', '.join(EXPORT_KINDS)}, got {kind!r}.")
    write, by_name, by_stem = _FORMATS[kind]
    names, stream = checked(results, by_name=by_name, by_stem=by_stem)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return write(names, stream, folder)
