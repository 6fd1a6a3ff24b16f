"""`PLACE,KEY=VALUE,...`, the way keys of data follow a place on the command line.

The standard library only.
"""

from __future__ import annotations

import re
from typing import Any

#: Keys whose values are true or false.
TRUTHS = ("reduce_zero_label", "nested", "labels_select", "skip_missing")


#: Several values or colours; labels may hold commas themselves.
_VALUES = re.compile(r"\s*(\d+|#\w{6})(\s*,\s*(\d+|#\w{6}))+\s*")


class KeyValueError(ValueError):
    """A value of another kind than its key has."""


def split_keys(text: str) -> tuple[str, dict[str, str]]:
    """The place and the keys of `PLACE,KEY=VALUE,...`; values may hold commas and equals signs."""
    place, *options = re.split(r",\s*(?=[a-z_]+=)", text)
    pairs = (option.partition("=") for option in options)
    return place, {key: value for key, _, value in pairs}


def typed_keys(texts: dict[str, str], where: str) -> dict[str, Any]:
    """`typed_value` of every key.

    Raises:
        KeyValueError: as `typed_value`; `where` begins the message.
    """
    values = {}
    for key, text in texts.items():
        try:
            values[key] = typed_value(key, text)
        except KeyValueError as error:
            raise KeyValueError(f"{where}, {key}: {error}") from error
    return values


def typed_value(key: str, text: str) -> Any:
    """A value as YAML would give it: "true", "7" and "[0, 255]" by their keys, else the text.

    Raises:
        KeyValueError: says what was expected.
    """
    if key in TRUTHS:
        if text.strip().lower() not in ("true", "false"):
            raise KeyValueError(f"expected true or false, got {text!r}.")
        return text.strip().lower() == "true"
    if key == "every":
        return _number_or_text(text)
    if key != "ignore":
        return text
    if not (text.strip().startswith("[") or _VALUES.fullmatch(text)):
        return _number_or_text(text)
    if text.count("[") != text.count("]"):
        raise KeyValueError(f"expected YAML such as 255 or [0, 255], got {text!r}.")
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [_number_or_text(part) for part in inner.split(",") if part.strip()]


def _number_or_text(text: str) -> int | str:
    plain = text.strip()
    if re.fullmatch(r"-?\d+", plain):
        return int(plain)
    return plain.strip("\"'")
