"""Label Studio: tasks with brush masks as predictions, and the labelling config that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np

from stseg.exports.labelled import MADE_BY, Labelled, masks, refuse_strange, run_lengths
from stseg.render import class_colours, hex_colour
from stseg.utils import as_bytes, write_atomically

_IMAGE, _LABELS = "image", "classes"
#: Bits of the four sorts of counters of the run-length code, shortest first.
_COUNTER_BITS = (3, 4, 8, 16)


def write_label_studio(
    names: Sequence[str], results: Iterable[Labelled], folder: Path
) -> list[Path]:
    """Write `tasks.json` and `label_config.xml`.

    "image" of a task is the `file_name`: give that as the URL under which Label Studio finds the
    image, such as /data/local-files/?d=photos/a.jpg.
    """
    tasks, config = folder / "tasks.json", folder / "label_config.xml"
    for path in (tasks, config):
        refuse_strange(path)

    def write(file: BinaryIO) -> None:
        file.write(b"[")
        for number, result in enumerate(results, start=1):
            text = json.dumps(_task(number, result, names), ensure_ascii=False)
            file.write((b",\n" if number > 1 else b"\n") + as_bytes(text))
        file.write(b"\n]\n")

    write_atomically(tasks, write)
    write_atomically(config, _config(names))
    return [tasks, config]


def _config(names: Sequence[str]) -> bytes:
    view = ElementTree.Element("View")
    view.append(ElementTree.Comment(MADE_BY))
    ElementTree.SubElement(view, "Image", name=_IMAGE, value="$image")
    labels = ElementTree.SubElement(view, "BrushLabels", name=_LABELS, toName=_IMAGE)
    for name, colour in zip(names, class_colours(names), strict=True):
        ElementTree.SubElement(labels, "Label", value=name, background=hex_colour(colour))
    return ElementTree.tostring(view, encoding="utf-8")


def _task(number: int, result: Labelled, names: Sequence[str]) -> dict[str, Any]:
    height, width = result.label_map.shape
    regions = [
        {
            "id": f"{number}-{class_id}",
            "from_name": _LABELS,
            "to_name": _IMAGE,
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": list(brush_code(mask)),
                "brushlabels": [names[class_id]],
            },
        }
        for class_id, mask in masks(result.label_map)
    ]
    return {
        "predictions": [{"model_version": MADE_BY, "result": regions}],
        "data": {"image": result.file_name},
    }


def brush_code(mask: np.ndarray) -> bytes:
    """The run-length code of Label Studio's brush, that of the JavaScript package rle-pack.

    The picture is RGBA, all four values 255 in the mask and 0 outside. 32 bits hold how many values
    there are, 5 bits their width less 1, four times 4 bits the widths of counters less 1; then
    comes for every run a 1, two bits for the sort of counter, the length less 1, and the value.

    Args:
        mask: (H, W) bool.
    """
    bits = [f"{4 * mask.size:032b}", f"{8 - 1:05b}", *(f"{n - 1:04b}" for n in _COUNTER_BITS)]
    for k, length in enumerate((4 * run_lengths(mask)).tolist()):
        value = f"{255 * (k % 2):08b}"
        while length > 0:
            part = min(length, 1 << _COUNTER_BITS[-1])
            sort = next(i for i, n in enumerate(_COUNTER_BITS) if part <= 1 << n)
            bits.append(f"1{sort:02b}{part - 1:0{_COUNTER_BITS[sort]}b}{value}")
            length -= part
    text = "".join(bits)
    return np.packbits(np.frombuffer(text.encode("ascii"), dtype=np.uint8) - ord("0")).tobytes()
