"""Images of a data set with their label maps and the names, on one sheet, to look at.

Shows faulty label maps, too: an id without a class gets a colour and a line in the legend.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from stseg.data import LabelCoding, read_ids, read_image
from stseg.render import (
    Figure,
    area_shares,
    class_colours,
    draw_legend,
    image_bytes,
    label_font,
    labels_at_size,
    paint_labels,
    render_page,
)
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.tools.verification import Listed, Pair, Target
from stseg.utils import MARK, name_key, write_atomically

_BOX = (480, 360)  # width and height that every picture is fitted into
_MAX_ROWS = 17  # of a legend, so that it stays one column beside the picture
_COLUMNS = 3
_GAP = 12
_CAPTION = 26  # height of a line of text
_PAPER, _INK, _FAINT = (250, 250, 250), (25, 25, 25), (110, 110, 110)
_PANEL = (32, 32, 32)  # the colour behind legends


@dataclass(frozen=True)
class Card:
    """One image of a sheet.

    Attributes:
        title: name of the file.
        remark: what is odd about it, "" if nothing.
        photo: (H, W, 3) uint8 RGB, fitted into the box.
        label: (H, W) int64 index into `names`, -1 without a class; None without a label map.
        names: with their ids in front; ids without a class come last.
    """

    title: str
    remark: str
    photo: np.ndarray
    label: np.ndarray | None
    names: tuple[str, ...]

    @property
    def bare_names(self) -> tuple[str, ...]:
        """Without their ids: a class has its colour by them."""
        return tuple(name.split(" ", 1)[-1] for name in self.names)

    @property
    def colours(self) -> np.ndarray:
        """(T, 3) uint8 RGB of the names."""
        return class_colours(self.bare_names)

    @property
    def overlay(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB: the photo with its label map, or alone."""
        if self.label is None:
            return self.photo
        return paint_labels(self.photo, self.label, self.bare_names)

    @property
    def pictures(self) -> list[Figure]:
        """For a page, in the order to show."""
        shown = {"Image": self.photo} | ({} if self.label is None else {"Label map": self.overlay})
        return [Figure.of(caption, pixels, quality=90) for caption, pixels in shown.items()]

    @property
    def shares(self) -> list[tuple[int, str, float]] | None:
        """(index, name, share of the picture in [0, 1]) of what is in it, the largest first."""
        if self.label is None:
            return None
        shares = area_shares(self.label, len(self.names))
        order = sorted(np.flatnonzero(shares).tolist(), key=lambda i: -shares[i])
        return [(i, self.names[i], float(shares[i])) for i in order]


@dataclass(frozen=True)
class Sheet:
    """Cards and what they are taken from.

    Attributes:
        name: of the data set.
        summary: (what, value) to print above.
        cards: the images.
    """

    name: str
    summary: tuple[tuple[str, str], ...]
    cards: tuple[Card, ...]


def make_sheet(listed: Listed, n: int, *, seed: int = 0, classes: str = "") -> Sheet:
    """Choose images and read them.

    Args:
        listed: a data set with at least one pair.
        n: images wanted; fewer if there are not so many.
        seed: of the choice.
        classes: names, as `Vocabulary.parse` reads them; only images with one of these are taken.

    Raises:
        ValueError: if a name is not a class, or no image has one.
    """
    target = listed.target
    pairs = choose(
        listed.pairs, n, seed=seed, wanted=class_ids(target, classes), coding=target.own_coding
    )
    if not pairs:
        raise ValueError(f"show: expected images with {classes!r} in {target.name}, got none.")
    summary = (
        ("images shown", f"{len(pairs)} of {len(listed.pairs)}"),
        ("classes", str(len(target.names))),
        ("ids without a class", ", ".join(map(str, target.ignore))),
        ("seed", str(seed)),
    )
    cards = tuple(read_card(pair, target) for pair in pairs)
    return Sheet(target.name, summary, cards)


def choose(
    pairs: Sequence[Pair],
    n: int,
    *,
    seed: int = 0,
    wanted: Sequence[int] = (),
    coding: LabelCoding | None = None,
) -> list[Pair]:
    """Pick images at random, the same ones for the same names of files and seed.

    Args:
        pairs: to choose from, in any order.
        n: at most so many.
        seed: of the choice.
        wanted: ids; only label maps that hold one of them count. Empty takes any.
        coding: what the values in the label maps mean; None where they are ids.

    Returns:
        In the order of their names.
    """
    shuffled = sorted(pairs, key=_stem)
    random.Random(seed).shuffle(shuffled)
    chosen: list[Pair] = []
    for pair in shuffled:
        if len(chosen) == n:
            break
        ids = _read_ids(pair, coding) if wanted else None
        if not wanted or (ids is not None and np.isin(ids, wanted).any()):
            chosen.append(pair)
    return sorted(chosen, key=_stem)


def class_ids(target: Target, classes: str) -> list[int]:
    """Ids of names; a synonym will do.

    Raises:
        ValueError: if a name is not a class of the data set.
    """
    if not classes:
        return []
    synonyms = [{name_key(part) for part in name.split(",")} for name in target.names]
    found = []
    for name in Vocabulary.parse(classes).names:
        ids = [i for i, parts in enumerate(synonyms) if name_key(name) in parts]
        if not ids:
            raise ValueError(
                f"--classes: expected classes of {target.name}, got {name!r}. It has: "
                f"{', '.join(target.names[:40])}{' ...' if len(target.names) > 40 else ''}."
            )
        found += ids
    return found


def read_card(pair: Pair, target: Target) -> Card:
    """Read one image with its label map, fitted into the box; say what cannot be read."""
    title = Path(pair.image).name
    try:
        image = read_image(pair.image)
    except (OSError, ValueError):
        nothing = np.full((_BOX[1], _BOX[0], 3), _PANEL, dtype=np.uint8)
        return Card(title, "image cannot be read", nothing, None, ())
    height, width = image.shape[:2]
    scale = min(_BOX[0] / width, _BOX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    if not pair.label:
        return Card(title, "no label map", photo, None, ())
    ids = _read_ids(pair, target.own_coding)
    if ids is None:
        return Card(title, "label map cannot be read", photo, None, ())
    remark = ""
    if ids.shape != (height, width):
        label_size = f"{ids.shape[1]} x {ids.shape[0]}"
        remark = f"label {label_size}, image {width} x {height}"
    label, names = _name_ids(ids, target)
    return Card(title, remark, photo, labels_at_size(label, size[::-1]), names)


def _read_ids(pair: Pair, coding: LabelCoding | None) -> np.ndarray | None:
    """The ids of the label map, None if there are none that can be read."""
    try:
        if coding is None or not pair.label:
            return read_ids(pair.label) if pair.label else None
        ids, is_strange = coding.decode(coding.read_raw(pair.label))
        return np.where(is_strange, coding.num_classes, ids)
    except (OSError, ValueError):
        return None


def _name_ids(ids: np.ndarray, target: Target) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label map that indexes names; ids without a class get a name of their own at the end."""
    count = len(target.names)
    names = [f"{i} {name.split(',')[0]}" for i, name in enumerate(target.names)]
    present = np.unique(ids)
    places = present.copy()
    for k, one_id in enumerate(present.tolist()):
        if one_id in target.ignore:
            places[k] = IGNORE_LABEL
        elif not 0 <= one_id < count:
            places[k] = len(names)
            names.append(f"{one_id} NOT A CLASS")
    return places[np.searchsorted(present, ids)], tuple(names)


def _stem(pair: Pair) -> str:
    return Path(pair.image).stem


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write all cards as one PNG."""
    legends = [_legend(card) for card in sheet.cards]
    legend_width = max(legend.shape[1] for legend in legends)
    width, height = _BOX[0] + legend_width + _GAP, _BOX[1] + _CAPTION + _GAP
    columns = min(_COLUMNS, len(legends))
    rows = -(-len(legends) // columns)
    top = 2 * _CAPTION + _GAP
    paper = Image.new("RGB", (columns * width + _GAP, rows * height + top + _GAP), _PAPER)
    draw = ImageDraw.Draw(paper)
    summary = "   ".join(f"{what}: {value}" for what, value in sheet.summary)
    draw.text((_GAP, _GAP), sheet.name, _INK, label_font(18))
    draw.text((_GAP, _GAP + _CAPTION), summary, _FAINT, label_font(14))
    for k, (card, legend) in enumerate(zip(sheet.cards, legends, strict=True)):
        left, upper = _GAP + (k % columns) * width, top + _GAP + (k // columns) * height
        caption = f"{card.title}   {card.remark.upper()}" if card.remark else card.title
        draw.text((left, upper), _cut(caption, width - _GAP), _INK, label_font(14))
        upper += _CAPTION - 4
        draw.rectangle((left, upper, left + width - _GAP - 1, upper + _BOX[1] - 1), fill=_PANEL)
        picture = Image.fromarray(card.overlay)
        offset = (_BOX[0] - picture.width) // 2, (_BOX[1] - picture.height) // 2
        paper.paste(picture, (left + offset[0], upper + offset[1]))
        paper.paste(Image.fromarray(legend), (left + _BOX[0], upper))
    maker = PngInfo()
    maker.add_text("Software", MARK.decode())
    write_atomically(path, image_bytes(np.asarray(paper), "PNG", pnginfo=maker))


def _cut(text: str, width: int) -> str:
    """The text, its end left out if it is wider than `width` pixels."""
    font = label_font(14)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _legend(card: Card) -> np.ndarray:
    if card.label is None:
        return np.full((_BOX[1], 1, 3), _PANEL, dtype=np.uint8)
    return draw_legend(card.label, card.bare_names, _BOX[1], max_rows=_MAX_ROWS, shown=card.names)


def write_page(path: Path, sheet: Sheet) -> None:
    """Write all cards as one HTML page, photo and label map side by side."""
    page = render_page("sheet.html", title=sheet.name, summary=sheet.summary, cards=sheet.cards)
    write_atomically(path, page)
