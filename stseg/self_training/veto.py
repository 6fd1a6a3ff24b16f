"""Classes and images that a person does not want trained on, from a text file they edit.

# lines that start with a hash are comments
class: traffic light
image: IMG_0042.jpg
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from stseg.utils import name_key, nearest, read_text, same_name


@dataclass(frozen=True)
class Veto:
    """What self-training leaves out; without arguments: nothing.

    Attributes:
        class_ids: never accepted as pseudo-labels in any image.
        images: file names of images that are not trained on.
    """

    class_ids: frozenset[int] = frozenset()
    images: frozenset[str] = frozenset()

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        vocabulary_names: Sequence[str],
        image_names: Sequence[str],
    ) -> "Veto":
        """Read a veto file.

        Args:
            path: UTF-8 text, one `class: NAME` or `image: FILENAME` a line. Case of class names is
                ignored. A name that several classes or images share vetoes all of them.
            vocabulary_names: T class names; the index is the class id.
            image_names: file names of the images to train on.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if lines cannot be understood; names all of them, with the nearest names.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"Veto file: expected a text file, got none at {path}. Correct the path, or leave "
                "SELF_TRAINING.VETO_FILE empty to veto nothing."
            )
        classes: set[int] = set()
        images: set[str] = set()
        problems: list[str] = []
        for number, line in enumerate(_lines(path), start=1):
            if not line or line.startswith("#"):
                continue
            kind, _, name = (part.strip() for part in line.partition(":"))
            if kind.casefold() == "class" and name:
                ids = _matches(name, vocabulary_names, name_key)
                classes.update(ids)
                problem = "" if ids else _unknown("class", name, vocabulary_names)
            elif kind.casefold() == "image" and name:
                ids = _matches(name, image_names, same_name)
                images.update(image_names[i] for i in ids)
                problem = "" if ids else _unknown("image", name, image_names)
            else:
                problem = f"expected 'class: NAME' or 'image: FILENAME', got {line!r}"
            if problem:
                problems.append(f"line {number}: {problem}")
        if problems:
            raise ValueError(f"Veto file {path}, {'; '.join(problems)}. Correct or remove them.")
        return cls(frozenset(classes), frozenset(images))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, "Veto file").split("\n")]


def _matches(name: str, names: Sequence[str], simplify: Callable[[str], str]) -> list[int]:
    wanted = simplify(name)
    return [i for i, other in enumerate(names) if simplify(other) == wanted]


def _unknown(what: str, name: str, names: Sequence[str]) -> str:
    near = ", ".join(nearest(name, names, 3))
    hint = f"; nearest: {near}" if near else ""
    return f"expected the name of a known {what}, got {name!r}{hint}"
