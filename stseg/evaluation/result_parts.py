"""Whether the parts of a result file are what reports and comparisons take for granted."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from stseg.evaluation.results import Result

_WHOLE, _TEXT, _NUMBER = "a whole number", "a text", "a number or null"
_KINDS: dict[str, tuple[type, ...]] = {_WHOLE: (int,), _TEXT: (str,), _NUMBER: (int, float)}
#: Part -> what each of its rows must hold.
_ROWS = {
    "classes": {
        "id": _WHOLE,
        "name": _TEXT,
        "iou": _NUMBER,
        "accuracy": _NUMBER,
        "precision": _NUMBER,
        "truth": _WHOLE,
        "predicted": _WHOLE,
        "taken_for": _WHOLE,
        "taken_pixels": _WHOLE,
    },
    "confusions": {"true": _WHOLE, "predicted": _WHOLE, "pixels": _WHOLE, "share": _NUMBER},
    "images": {"name": _TEXT, "mIoU_gt": _NUMBER, "pACC": _NUMBER},
}
_IDS = {"classes": ("id", "taken_for"), "confusions": ("true", "predicted"), "images": ()}


def check_result(path: str | PathLike[str], result: Result) -> Result:
    """Hand on a result that lacks nothing that reports and comparisons show.

    Args:
        path: of its file, for messages.
        result: of `read_result`, where null is NaN.

    Raises:
        ValueError: names the part.
    """
    try:
        _check_parts(result)
    except ValueError as error:
        raise ValueError(
            f"{path}: expected {error}, got something else. The file is damaged, or was changed: "
            "score anew."
        ) from error
    return result


def _check_parts(result: Result) -> None:
    for name in ("figures", "definitions", "bootstrap", "similarity", "provenance"):
        _demand(isinstance(getattr(result, name), Mapping), name, "an object")
    for name, value in result.figures.items():
        _demand(_is(value, _NUMBER), f"figures.{name}", _NUMBER)
        _demand(_is(result.definitions.get(name), _TEXT), f"definitions.{name}", _TEXT)
    count = result.protocol.num_classes
    _demand(_is(count, _WHOLE), "protocol.num_classes", _WHOLE)
    for part, keys in _ROWS.items():
        rows = getattr(result, part)
        _demand(isinstance(rows, list), part, "a list")
        for number, row in enumerate(rows):
            where = f"{part}[{number}]"
            _demand(isinstance(row, Mapping), where, "an object")
            for key, kind in keys.items():
                _demand(_is(row.get(key), kind), f"{where}.{key}", kind)
            for key in _IDS[part]:
                _demand(0 <= row[key] < count, f"{where}.{key}", "the id of a class")
    _demand(len(result.classes) == count, "classes", f"{count} rows, one for each class,")
    if result.bootstrap:
        _check_bootstrap(result.bootstrap)


def _check_bootstrap(part: Mapping[str, Any]) -> None:
    means, intervals = part.get("means"), part.get("intervals")
    values = means.get("mIoU_gt") if isinstance(means, Mapping) else None
    _demand(_is_row(values, least=2), "bootstrap.means.mIoU_gt", "a list of numbers")
    pairs = intervals.values() if isinstance(intervals, Mapping) else [None]
    _demand(all(_is_row(p, 2, 2) for p in pairs), "bootstrap.intervals", "pairs of numbers")
    level = part.get("level")
    _demand(isinstance(level, float) and 0 < level < 1, "bootstrap.level", "a number in (0, 1)")
    _demand(_is(part.get("seed"), _WHOLE), "bootstrap.seed", _WHOLE)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and not isinstance(value, bool)


def _is_row(values: Any, least: int, most: float = float("inf")) -> bool:
    is_list = isinstance(values, list) and least <= len(values) <= most
    return is_list and all(v is None or _is(v, _NUMBER) for v in values)


def _demand(is_good: bool, name: str, rule: str) -> None:
    if not is_good:
        raise ValueError(f"{rule} at {name}")
