"""CVAT for images 1.1: one XML of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from stseg.exports.labelled import MADE_BY, Labelled, bounds, masks, refuse_strange, run_lengths
from stseg.render import class_colours, hex_colour
from stseg.utils import as_bytes, write_atomically


def write_cvat(names: Sequence[str], results: Iterable[Labelled], folder: Path) -> list[Path]:
    """Write `annotations.xml`, image by image: a mask per class, cropped to its box."""
    path = folder / "annotations.xml"
    refuse_strange(path)

    def write(file: BinaryIO) -> None:
        xml = _Writer(file)
        xml.startDocument()
        xml.begin("annotations")
        xml.leaf("version", "1.1")
        _write_meta(xml, names)
        for number, result in enumerate(results):
            _write_image(xml, number, result)
        xml.endElement("annotations")
        xml.endDocument()

    write_atomically(path, write)
    return [path]


class _Writer(XMLGenerator):
    """Escapes what is text."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, "utf-8", short_empty_elements=True)

    def begin(self, tag: str, **attributes: str | int) -> None:
        """Begin an element."""
        self.startElement(
            tag, AttributesImpl({k: as_bytes(str(v)).decode() for k, v in attributes.items()})
        )

    def leaf(self, tag: str, text: str) -> None:
        """An element that holds text alone."""
        self.begin(tag)
        self.characters(text)
        self.endElement(tag)


def _write_meta(xml: _Writer, names: Sequence[str]) -> None:
    for tag in ("meta", "task"):
        xml.begin(tag)
    xml.leaf("name", MADE_BY)
    xml.begin("labels")
    for name, colour in zip(names, class_colours(names), strict=True):
        xml.begin("label")
        for tag, text in (("name", name), ("color", hex_colour(colour)), ("type", "mask")):
            xml.leaf(tag, text)
        xml.leaf("attributes", "")
        xml.endElement("label")
    for tag in ("labels", "task", "meta"):
        xml.endElement(tag)


def _write_image(xml: _Writer, number: int, result: Labelled) -> None:
    height, width = result.label_map.shape
    xml.begin("image", id=number, name=result.file_name, width=width, height=height)
    for class_id, mask in masks(result.label_map):
        top, bottom, left, right = bounds(mask)
        runs = run_lengths(mask[top:bottom, left:right])
        xml.begin(
            "mask",
            label=result.names[class_id],
            source="auto",
            occluded=0,
            rle=", ".join(map(str, runs.tolist())),
            left=left,
            top=top,
            width=right - left,
            height=bottom - top,
            z_order=0,
        )
        xml.endElement("mask")
    xml.endElement("image")
