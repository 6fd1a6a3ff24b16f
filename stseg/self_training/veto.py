"""What a person does not want trained on, or knows better, from a text file they edit.

# lines that start with a hash are comments
class: traffic light
image: IMG_0042.jpg
region: IMG_0043.jpg: 12,30 40,30 40,60: cat
region: IMG_0043.jpg: 0,0 9,0 9,9 0,9; 3,3 6,3 6,6 3,6: nothing

A region is an outline in pixels of the image, see `corrections`, and the class that its pixels
have in every round, or "nothing" for no label. Where regions overlap the later line counts.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import NoReturn

from stseg.data import image_size
from stseg.self_training.corrections import NOTHING, Correction, Ring, read_outline
from stseg.structures import IGNORE_LABEL
from stseg.utils import name_key, nearest, read_text, same_name

_FORMS = (
    "'class: NAME', 'image: FILENAME' or 'region: FILENAME: X,Y X,Y X,Y: CLASS' (or 'nothing' as "
    "the class)"
)
_MOST_PROBLEMS = 20  # to look for the nearest of many thousand names takes its time
#: What looks like an outline between two colons; found at every colon.
_OUTLINE = re.compile(r"(?=:([-+.,;\d\s]*):)")


@dataclass(frozen=True)
class Veto:
    """What self-training leaves out or is told; without arguments: nothing.

    Attributes:
        class_ids: never accepted as pseudo-labels in any image.
        images: file names of images that are not trained on.
        corrections: regions whose class is given, in the order of the file.
        text: of the file.
    """

    class_ids: frozenset[int] = frozenset()
    images: frozenset[str] = frozenset()
    corrections: tuple[Correction, ...] = ()
    text: str = field(default="", compare=False)

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        vocabulary_names: Sequence[str],
        images: Sequence[str],
    ) -> "Veto":
        """Read a veto file.

        Args:
            path: UTF-8 text, one `class: NAME`, `image: FILENAME` or `region: FILENAME: OUTLINE:
                CLASS` a line. Case of class names is ignored. A name that several classes or
                images share vetoes all of them, and a region is one of all images of its name; its
                class is the one that is spelled so, where several differ in nothing but case.
            vocabulary_names: T class names; the index is the class id.
            images: files to train on; only those that a region names are opened.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if lines cannot be understood; names the first 20, with the nearest names.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"Veto file: expected a text file, got none at {path}. Correct the path, or leave "
                "SELF_TRAINING.VETO_FILE empty to veto nothing."
            )
        text = read_text(path, "Veto file")
        reader, problems = _Reader(vocabulary_names, images), []
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                reader.take(line.strip(), number)
            except ValueError as e:
                problems.append(f"line {number}: {e}")
            if len(problems) == _MOST_PROBLEMS:
                problems.append("and perhaps more")
                break
        problems += reader.contradictions()
        if problems:
            raise ValueError(f"Veto file {path}, {'; '.join(problems)}. Correct or remove them.")
        return cls(
            frozenset(reader.classes),
            frozenset(reader.vetoed),
            tuple(correction for _, correction in reader.corrections),
            text,
        )


class _Reader:
    """Gathers what lines say."""

    def __init__(self, class_names: Sequence[str], images: Sequence[str]) -> None:
        self._class_names, self._images = list(class_names), images
        self._image_names = [os.path.basename(image) for image in images]
        self._known_classes = _places(class_names, name_key)
        self._known_images = _places(self._image_names, same_name)
        self.classes: set[int] = set()
        self.vetoed: set[str] = set()
        self.corrections: list[tuple[int, Correction]] = []

    def take(self, line: str, number: int) -> None:
        """Understand a line without blanks at its ends; the error names neither file nor line."""
        if not line or line.startswith("#"):
            return
        kind, _, name = (part.strip() for part in line.partition(":"))
        kind = kind.casefold()
        if kind == "class" and name:
            self.classes.update(self._classes_called(name))
        elif kind == "image" and name:
            self.vetoed.update(self._image_names[i] for i in self._images_called(name))
        elif kind == "region" and (parts := list(_region_parts(name))):
            # Names may hold what looks like an outline.
            known = (p for p in parts if same_name(p[0]) in self._known_images)
            self._take_region(*next(known, parts[0]), number)
        else:
            raise ValueError(f"expected {_FORMS}, got {shorten(line, 80)!r}")

    def contradictions(self) -> Iterator[str]:
        """Regions of a class that is vetoed."""
        for number, correction in self.corrections:
            if correction.class_id in self.classes:
                name = self._class_names[correction.class_id]
                yield (
                    f"line {number}: expected a class that is not vetoed, got {name!r}, which "
                    "another line leaves out"
                )

    def _take_region(self, image: str, outline: str, class_name: str, number: int) -> None:
        images, class_id = self._images_called(image), self._class_called(class_name)
        rings = read_outline(outline)
        for i in images:
            _check_inside(rings, self._images[i])
        names = dict.fromkeys(self._image_names[i] for i in images)
        self.corrections += [(number, Correction(name, rings, class_id)) for name in names]

    def _images_called(self, name: str) -> list[int]:
        found = self._known_images.get(same_name(name))
        return found or _unknown("image", name, self._image_names)

    def _classes_called(self, name: str) -> list[int]:
        found = self._known_classes.get(name_key(name))
        return found or _unknown("class", name, self._class_names)

    def _class_called(self, name: str) -> int:
        """The one that is spelled so, else the only one that is called so."""
        if name_key(name) == NOTHING:
            return IGNORE_LABEL
        if name in self._class_names:
            return self._class_names.index(name)
        ids = self._classes_called(name)
        if len(ids) > 1:
            spelled = ", ".join(self._class_names[i] for i in ids)
            raise ValueError(f"expected one class, got {name!r}, which may be any of {spelled}")
        return ids[0]


def _places(names: Sequence[str], simplify: Callable[[str], str]) -> dict[str, list[int]]:
    """Where every name stands, by what its spellings have in common."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(simplify(name), []).append(i)
    return places


def _unknown(what: str, name: str, names: Sequence[str]) -> NoReturn:
    near = ", ".join(nearest(name, names, 3))
    hint = f"; nearest: {near}" if near else ""
    raise ValueError(f"expected the name of a known {what}, got {name!r}{hint}")


def _region_parts(text: str) -> Iterator[tuple[str, str, str]]:
    """Image, outline and class, as often as a text can be parted so."""
    for found in _OUTLINE.finditer(text):
        image, name = text[: found.start()].strip(), text[found.end(1) + 1 :].strip()
        if image and name:
            yield image, found[1], name


def _check_inside(rings: Sequence[Ring], image: str) -> None:
    height, width = image_size(image)
    for x, y in (corner for ring in rings for corner in ring):
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(
                f"expected an outline inside the {width} x {height} pixels of {image}, got a "
                f"corner at {x:g},{y:g}"
            )
