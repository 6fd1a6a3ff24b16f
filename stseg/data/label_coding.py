"""What the values or colours in a label file mean: one place for training, scoring and checks.

NumPy and Pillow only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from stseg.data.image_io import hex_of, read_ids, read_label, read_packed
from stseg.data.names_file import settings_of
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import parse_json, read_text, some_of

#: Keys that say what label files hold; of `folder` data sets, names files and the scorer alike.
CODING_KEYS = ("ignore", "reduce_zero_label", "values", "colours")
#: In place of a class: pixels of this value or colour carry none.
NO_CLASS = "ignore"

_SEPARATED = r"[\s,;:=]+"
_RGB = r"\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3}"
_COLOUR = re.compile(rf"#[0-9a-fA-F]{{6}}|{_RGB}")
_COLOUR_FIRST = re.compile(rf"(#[0-9a-fA-F]{{6}}|{_RGB})(?:{_SEPARATED}(.+))?")
_COLOUR_LAST = re.compile(rf"(.+?){_SEPARATED}(#[0-9a-fA-F]{{6}}|{_RGB})")


@dataclass(frozen=True)
class LabelCoding:
    """What label files hold.

    Attributes:
        num_classes: ids 0 .. num_classes - 1 are classes.
        ignore: values in the files that carry no class.
        label_ids: for every value from 0 on its class id, or `IGNORE_LABEL`; None where values are
            class ids, or `values` says it.
        values: pairs of a value and its class id, or `IGNORE_LABEL`; None where values count up.
        is_colour: `values` and `ignore` are colours, 65536 R + 256 G + B.
        is_stated: the user said which values carry no class, so that nobody need doubt it.
        withheld_by: zero-shot split that the files were written for, "" for none: one that holds
            an id of no seen class is refused.
    """

    num_classes: int
    ignore: tuple[int, ...] = (255,)
    label_ids: tuple[int, ...] | None = None
    values: tuple[tuple[int, int], ...] | None = None
    is_colour: bool = False
    is_stated: bool = False
    withheld_by: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the values are class ids."""
        return self.label_ids is None and self.values is None

    @property
    def ignored_ids(self) -> tuple[int, ...]:
        """`ignore` for records of how something was scored; none where values are colours."""
        return () if self.is_colour else self.ignore

    @property
    def meaning(self) -> tuple[Any, ...]:
        """What decides the class of a value; all but what is ignored."""
        return self.num_classes, self.label_ids, self.values, self.is_colour, self.withheld_by

    def read(
        self, path: str | PathLike[str], dtype: type[np.signedinteger] = np.int64
    ) -> np.ndarray:
        """Read a label map.

        Args:
            path: PNG or TIFF.
            dtype: of the result.

        Returns:
            (H, W) of `dtype`, class ids, `IGNORE_LABEL` where there is none.

        Raises:
            FileNotFoundError: if there is no such file.
            BrokenFileError: if it cannot be decoded.
            ValueError: if it holds a value or colour without a meaning, or an unseen class where a
                zero-shot split withholds them; names file and values.
        """
        if self.values is None:
            return read_label(
                path, self.num_classes, self.ignore, self.label_ids, dtype, self.withheld_by
            )
        raw = self.read_raw(path)
        label, is_strange = self.decode(raw)
        if is_strange.any():
            strange = self.shown(np.unique(raw[is_strange]).tolist())
            known = [value for value, _ in self.values]
            key = "colours" if self.is_colour else "values"
            raise ValueError(
                f"Label map {path}: expected the {key} {some_of(self.shown(known), 8)} or the "
                f"ignored {some_of(self.shown(self.ignore), 8) or 'ones, of which there are none'},"
                f" got {some_of(strange, 8)} in {100 * is_strange.mean():.1f} % of the pixels. Add "
                f"{strange[0]}:CLASS to {key}, or {strange[0]}:{NO_CLASS} if it carries no class."
            )
        return label.astype(dtype)

    def read_raw(self, path: str | PathLike[str]) -> np.ndarray:
        """(H, W) integers, values as the file holds them; colours as one number each."""
        if self.is_colour:
            return read_packed(path)
        if self.values is None:
            return read_ids(path)
        return _grey(path)

    def decode(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class ids out of values.

        Args:
            raw: (H, W) integers, see `read_raw`.

        Returns:
            (H, W) int64, `IGNORE_LABEL` where there is no class; (H, W) bool, where a value has
            no meaning.
        """
        known, classes = _table(self)
        place = np.searchsorted(known, raw).clip(max=len(known) - 1)
        is_strange = known[place] != raw
        return np.where(is_strange, IGNORE_LABEL, classes[place]), is_strange

    def as_json(self) -> dict[str, Any]:
        """For a file; see `of_json`."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> LabelCoding:
        """What `as_json` gave, out of a file."""
        values = content["values"] and tuple((v, c) for v, c in content["values"])
        ids = content["label_ids"] and tuple(content["label_ids"])
        lists = {"values": values, "label_ids": ids, "ignore": tuple(content["ignore"])}
        return cls(**{**content, **lists})

    def shown(self, values: Iterable[int]) -> list[str]:
        """Values as the user writes them."""
        if not self.is_colour:
            return [str(value) for value in values]
        return [hex_of((v >> 16, v >> 8 & 255, v & 255)) for v in values]


@lru_cache(maxsize=64)
def _table(coding: LabelCoding) -> tuple[np.ndarray, np.ndarray]:
    """Values in order, and their class ids."""
    ids = range(coding.num_classes) if coding.label_ids is None else coding.label_ids
    pairs = dict(enumerate(ids) if coding.values is None else coding.values)
    if coding.withheld_by:
        pairs = {value: i for value, i in pairs.items() if i != IGNORE_LABEL}
    pairs |= dict.fromkeys(coding.ignore, IGNORE_LABEL)
    known = sorted(pairs)
    return np.array(known), np.array([pairs[value] for value in known])


def _grey(path: str | PathLike[str]) -> np.ndarray:
    """Values of a file; grey that was saved as colours is grey, too."""
    try:
        return read_ids(path)
    except ValueError as error:
        try:
            packed = read_packed(path)
        except ValueError:
            raise error from None
        grey = packed & 255
        if (packed != grey * 0x010101).any():
            raise
        return grey


def coding_of(
    vocabulary: Vocabulary,
    names: Any = None,
    *,
    where: str,
    ignore: int | str | Sequence[int | str] = (),
    reduce_zero_label: bool = False,
    values: Any = "",
    colours: Any = "",
) -> LabelCoding:
    """What the label files of a folder mean, out of what the user says about them.

    Args:
        vocabulary: the classes.
        names: where it comes from; a JSON file may hold the keys that are not given here.
        where: begins messages.
        ignore: values that carry no class, or colours as texts; by default 255, or 65535 where 255
            is a class.
        reduce_zero_label: value 0 carries no class, k is the k-th name.
        values: "0:0,255:crack" or a mapping, from value to class id, name or "ignore".
        colours: the same for colours, "#ff0000:0,0 0 255:sky"; or a .txt, .csv or .json file with
            a line "R G B CLASS", "CLASS R G B" or "R G B" (classes in order) for each.

    Raises:
        FileNotFoundError: if a file of colours is missing.
        ValueError: if a value stands twice, a class is unknown, or the keys contradict each other.
    """
    given = dict(zip(CODING_KEYS, (ignore, reduce_zero_label, values, colours), strict=True))
    said = {key: value for key, value in given.items() if _is_said(value)}
    of_file = _said_by_file(names) if isinstance(names, Path) else {}
    if said.keys() - {"ignore"}:
        of_file = {key: value for key, value in of_file.items() if key == "ignore"}
    said = of_file | said
    where += f" ({names})" if of_file else ""
    ways = [key for key in CODING_KEYS[1:] if key in said]
    if len(ways) > 1:
        raise ValueError(
            f"{where}: expected one of reduce_zero_label, values and colours, got "
            f"{' and '.join(ways)}. Keep one."
        )
    return _coding(vocabulary, said, where, is_firm=_is_said(ignore))


def _said_by_file(names: Path) -> dict[str, Any]:
    """The keys that a names file holds; a table that it names lies beside it."""
    settings = settings_of(names)
    said = {key: settings[key] for key in CODING_KEYS if _is_said(settings.get(key))}
    if isinstance(table := said.get("colours"), str) and (names.parent / table).is_file():
        said["colours"] = names.parent / table
    return said


def _is_said(value: Any) -> bool:
    return value not in (None, "", (), [], {}) and value is not False  # 0 is a value


def _coding(
    vocabulary: Vocabulary, said: Mapping[str, Any], where: str, *, is_firm: bool
) -> LabelCoding:
    """See `coding_of`; "ignore" of a names file gives way to a table where it is not firm."""
    count, is_colour = len(vocabulary), "colours" in said
    ignored = said.get("ignore", ())
    ignored = ignored if isinstance(ignored, (tuple, list)) else (ignored,)
    if is_colour and not is_firm:
        ignored = [value for value in ignored if not isinstance(value, int)]
    ignored = tuple(_value(v, is_colour, f"{where}, ignore") for v in ignored)
    ids: tuple[int, ...] | None = None
    table: tuple[tuple[int, int], ...] | None = None
    if said.get("reduce_zero_label"):
        ids = (IGNORE_LABEL, *range(count))
        count += 1
    if is_colour or "values" in said:
        key = "colours" if is_colour else "values"
        table = _pairs(said[key], is_colour, vocabulary, f"{where}, {key}")
    taken = {value for value, _ in table or ()}
    if not ignored and not is_colour:
        default = 255 if count <= 255 else 65535
        ignored = () if default in taken else (default,)
    if not is_firm:
        ignored = tuple(value for value in ignored if value not in taken)
    if twice := taken.intersection(ignored):
        raise ValueError(
            f"{where}: expected values with one meaning each, got {some_of(sorted(twice))} as a "
            "class and in ignore. Remove it from one."
        )
    return LabelCoding(
        len(vocabulary), ignored, ids, table, is_colour=is_colour, is_stated=bool(said)
    )


def _pairs(
    said: Any, is_colour: bool, vocabulary: Vocabulary, where: str
) -> tuple[tuple[int, int], ...]:
    """(value, class id) of everything that a table says."""
    found: dict[int, int] = {}
    for value, name in _items(said, where):
        if is_colour and not _is_colour(value) and _is_colour(name):
            value, name = name, value  # {"road": [128, 64, 128]}
        number = _value(value, is_colour, where)
        if number in found:
            raise ValueError(f"{where}: expected each value once, got {value!r} twice. Remove one.")
        found[number] = _class(name, vocabulary, where)
    if not found:
        raise ValueError(f"{where}: expected pairs such as 0:0,255:1, got none.")
    return tuple(sorted(found.items()))


def _items(said: Any, where: str) -> list[tuple[Any, Any]]:
    """Value and class, as they stand there."""
    if isinstance(said, Mapping):
        return list(said.items())
    if isinstance(said, (tuple, list)):
        if all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in said):
            return [(a, b) for a, b in said]
    elif isinstance(said, Path) or said.lower().endswith((".txt", ".csv", ".json")):
        return _items_of_file(Path(said).expanduser(), where)
    else:
        parts = [part.rpartition(":") for part in said.split(",") if part.strip()]
        if all(colon for _, colon, _ in parts):
            return [(value.strip(), name.strip()) for value, _, name in parts]
    raise ValueError(
        f"{where}: expected VALUE:CLASS,VALUE:CLASS such as 0:0,255:1, or a file of them, got "
        f"{said!r}."
    )


def _items_of_file(file: Path, where: str) -> list[tuple[Any, Any]]:
    if not file.is_file():
        raise FileNotFoundError(f"{where}: expected a file, got nothing at {file.absolute()}.")
    text = read_text(file, where)
    if file.suffix.lower() == ".json":
        try:
            content = parse_json(text)
        except ValueError as error:
            raise ValueError(f"{where}: expected JSON in {file}, got {error}.") from error
        return _items(content, f"{where} of {file}")
    found: list[tuple[Any, Any]] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        first, last = _COLOUR_FIRST.fullmatch(line), _COLOUR_LAST.fullmatch(line)
        if first:
            found.append((first[1], first[2] or len(found)))
        elif last:
            found.append((last[2], last[1].strip("\"' ")))
        elif line and not line.startswith("#") and number > 1:  # the first may be a heading
            raise ValueError(
                f"{where}, {file}, line {number}: expected R G B CLASS or CLASS R G B, got "
                f"{line[:60]!r}. Correct it."
            )
    return found


def _is_colour(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_COLOUR.fullmatch(value.strip()))
    return isinstance(value, (list, tuple)) and len(value) == 3


def _value(value: Any, is_colour: bool, where: str) -> int:
    """A value, or a colour as one number."""
    text = str(value).strip()
    if not is_colour:
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
            raise ValueError(f"{where}: expected whole numbers from 0 to 65535, got {value!r}.")
        return int(text)
    if isinstance(value, str) and _is_colour(value):
        value = bytes.fromhex(text[1:]) if text[0] == "#" else re.split(r"[\s,;]+", text)
    try:
        red, green, blue = (int(part) for part in value)
        if max(red, green, blue) <= 255 and min(red, green, blue) >= 0:
            return (red << 16) + (green << 8) + blue
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{where}: expected colours such as #ff0000 or 255 0 0, got {text!r}.")


def _class(name: Any, vocabulary: Vocabulary, where: str) -> int:
    """A class id by id, name or synonym."""
    text = " ".join(str(name).split())
    if re.fullmatch(r"\d+", text) and int(text) < len(vocabulary):
        return int(text)
    ids = {n.casefold(): i for i, names in enumerate(vocabulary.synonyms) for n in names}
    ids |= {n.casefold(): i for i, n in enumerate(vocabulary.names)}
    if (class_id := ids.get(text.casefold())) is not None:
        return class_id
    if text.casefold() == NO_CLASS:
        return IGNORE_LABEL
    raise ValueError(
        f"{where}: expected classes, ids 0 to {len(vocabulary) - 1} or names out of "
        f"{some_of(vocabulary.names, 8)}, got {text!r}. Write {NO_CLASS} for what carries no class."
    )
