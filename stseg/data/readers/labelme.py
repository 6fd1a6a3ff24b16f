"""labelme: a JSON per image with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stseg.data.image_io import IMAGE_SUFFIXES
from stseg.data.readers.annotations import (
    Annotations,
    Drawing,
    hash_of,
    left_out,
    place_of,
    points_of,
    read_json,
    refuse_same_stem,
    stated_size,
    without_missing,
)
from stseg.data.readers.polygons import clip_polygon
from stseg.utils import spelling_on_disk

#: labelme's own label for regions that carry no class.
IGNORED = "__ignore__"
#: Fewest points of a shape; the other kinds (line, linestrip, point, points) cover no area.
_AREAS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}


def read_labelme(
    name: str,
    image_dir: Path,
    label_dir: Path,
    other_files: Sequence[Path] = (),
    skip_missing: bool = False,
) -> Annotations:
    """Read every JSON of a folder.

    Args:
        name: of the data set, for messages.
        image_dir: images lie here, or where "imagePath" leads from the JSON.
        label_dir: folder of JSON files.
        other_files: JSON files that are no annotations.
        skip_missing: JSON files whose image is missing are left out.

    Returns:
        Annotations; names are the labels, sorted. Images without a JSON are left out, and shapes
        that cover no area: lines, points, polygons of fewer than three points.

    Raises:
        FileNotFoundError: if an image is missing.
        ValueError: if there is no JSON, or one is faulty; names the file.
    """
    others = {"names.json", *(path.name for path in other_files if path.parent == label_dir)}
    files = [p for p in sorted(label_dir.glob("*.json")) if p.name not in others]
    files = [p for p in files if not p.name.startswith(".")]
    if not files:
        raise ValueError(f"Data set {name}: expected labelme JSON in {label_dir}, got none.")
    drawings, missing, lines, hashes = [], [], 0, []
    stubs: list[str] = []
    used: dict[str, str] = {}
    for file in files:
        content, file_hash = read_json(file, ("shapes", "imagePath"), "a labelme file")
        image = _find_image(file, str(content["imagePath"]), image_dir)
        if image is None:
            missing.append(f"{content['imagePath']} of {file.name}")
            continue
        shapes = _shapes(file, content["shapes"])
        lines += sum(shape[1] not in _AREAS for shape in shapes)
        stubs += [f"{shape[0]!r} in {file.name}" for shape in shapes if _is_stub(*shape[1:])]
        areas = [s for s in shapes if s[1] in _AREAS and not _is_stub(*s[1:])]
        for label, *_ in areas:
            used.setdefault(label, str(file))
        size = stated_size(content, "imageHeight", "imageWidth")
        drawings.append(Drawing(str(image), image.stem, str(file), tuple(areas), size))
        hashes.append(file_hash)
    notes = without_missing(name, missing, image_dir, label_dir, skip_missing)
    refuse_same_stem(name, drawings)
    notes += [f"{lines} lines and points cover no area and are left out"] if lines else []
    notes += left_out(stubs, "shapes of too few points")
    labels = tuple(sorted(label for label in used if label != IGNORED))
    key = hash_of("labelme", hashes, [d.stem for d in drawings])
    return Annotations(drawings, draw_labelme, labels, used, key, notes)


def _find_image(file: Path, image_path: str, image_dir: Path) -> Path | None:
    """Where "imagePath" leads, in `image_dir` or from the JSON; else what has the JSON's stem."""
    beside = [image_dir / f"{file.stem}{suffix}" for suffix in IMAGE_SUFFIXES]
    found = place_of(image_path, image_dir)[0] or place_of(image_path, file.parent)[0]
    return found or next(filter(None, map(spelling_on_disk, beside)), None)


def _is_stub(kind: str, form: Any) -> bool:
    """Whether a shape that should cover an area has too few points to."""
    return form is None and kind in _AREAS


def _shapes(file: Path, shapes: Any) -> list[tuple[str, str, Any]]:
    """(label, kind, points or (mask, corner)) of every shape."""
    if not isinstance(shapes, list):
        raise ValueError(f"{file}: expected a list of shapes, got {type(shapes).__name__}.")
    found: list[tuple[str, str, Any]] = []
    for number, shape in enumerate(shapes, start=1):
        where = f"{file}, shape {number}"
        label = shape.get("label") if isinstance(shape, dict) else None
        label = str(label) if isinstance(label, int) else label
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"{where}: expected a label (text), got {label!r}. Give it a name.")
        kind = shape.get("shape_type") or "polygon"  # early versions had polygons only
        where = f"{where} ({kind} {label!r})"
        if kind not in _AREAS:
            found.append((label, kind, None))
            continue
        points = points_of(shape.get("points"), where)
        if len(points) < _AREAS[kind]:
            found.append((label, kind, None))
        elif kind == "mask":
            found.append((label, kind, (_mask(shape.get("mask"), where), points[0])))
        else:
            found.append((label, kind, points))
    return found


def _mask(text: Any, where: str) -> bytes:
    """The PNG that a mask shape carries as base64."""
    try:
        raw = base64.b64decode(text, validate=True)
        Image.open(io.BytesIO(raw)).verify()
        return raw
    except (TypeError, ValueError, SyntaxError, OSError, binascii.Error) as error:
        raise ValueError(
            f"{where}: expected a PNG as base64 at 'mask', got {str(text)[:30]!r}. Correct or "
            "remove the shape."
        ) from error


def draw_labelme(
    drawing: Drawing, size: tuple[int, int], ids: Mapping[str, int], fill: int
) -> np.ndarray:
    """Draw the shapes in their order, later ones on top, as labelme's own export does.

    Outlines belong to shapes. Parts outside the image are cut off.

    Returns:
        (H, W) int32, class ids; `fill` where no shape lies.
    """
    height, width = size
    canvas = Image.new("I", (width, height), fill)
    draw = ImageDraw.Draw(canvas)
    for label, kind, form in drawing.content:
        value = ids[label]
        if kind == "mask":
            _paste(canvas, value, *form)
        elif kind == "circle":
            _draw_circle(canvas, value, *form[:2])
        elif kind == "rectangle" and len(form) == 2:
            (left, right), (top, bottom) = (sorted(side) for side in zip(*form, strict=True))
            # A line beyond the image is as good as any other beyond it.
            box = (max(left, -1), max(top, -1), min(right, width), min(bottom, height))
            if box[0] <= box[2] and box[1] <= box[3]:
                draw.rectangle(box, fill=value, outline=value)
        # Some tools write rectangles with four corners.
        elif corners := clip_polygon(form, height, width):
            draw.polygon(corners, fill=value, outline=value)
    return np.array(canvas, dtype=np.int32)


def _paste(canvas: Image.Image, value: int, raw: bytes, corner: tuple[float, float]) -> None:
    part = Image.open(io.BytesIO(raw)).convert("L").point(lambda v: 255 * (v > 0))
    left, top = (int(place) for place in corner)
    if -part.width < left < canvas.width and -part.height < top < canvas.height:
        canvas.paste(value, (left, top), part)


def _draw_circle(
    canvas: Image.Image, value: int, centre: tuple[float, float], edge: tuple[float, float]
) -> None:
    (x, y), radius = centre, math.dist(centre, edge)
    if radius > 2 * max(canvas.size):  # Pillow would walk around it
        rows, cols = np.ogrid[: canvas.height, : canvas.width]
        inside = np.hypot(cols - x, rows - y) <= radius
        canvas.paste(value, (0, 0), Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)))
    elif -radius < x < canvas.width + radius and -radius < y < canvas.height + radius:
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(canvas).ellipse(box, fill=value, outline=value)
