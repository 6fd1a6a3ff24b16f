"""Checkpoints that ship in short form: what is elsewhere, or the same many times, is filled in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from stseg.weights import PackagedFile

#: In a checkpoint: what to fill in. "rows": by name, the keywords of `table_of`. "packages": a dict
#: each, the fields of a `PackagedFile` and "names", from its names to those here.
SHORT = "short"


def in_full(content: dict[str, Any], load: Callable[[str], Any]) -> dict[str, Any]:
    """A checkpoint with all its tensors.

    Args:
        content: of the file, whose tensors are in "state_dict" where it is in short form.
        load: reads another one.

    Raises:
        FileNotFoundError: if a package with some of them is not installed.
        ValueError: if its file is another one.
    """
    short = content.get(SHORT)
    if not isinstance(short, dict):
        return content
    state: dict[str, Tensor] = dict(content["state_dict"])
    for name, row in short["rows"].items():
        state[name] = table_of(**row)
    for part in short["packages"]:
        fields = {key: value for key, value in part.items() if key != "names"}
        path: Path = PackagedFile(**fields).path()
        given = load(str(path))
        state |= {ours: given[theirs] for theirs, ours in part["names"].items()}
    return {**{k: v for k, v in content.items() if k != SHORT}, "state_dict": state}


def table_of(count: int, ids: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A table of embeddings out of the product of two thin matrices.

    Args:
        count: rows of the table.
        ids: (n,) int, which of them have one of their own.
        left: (n + 1, r); the last row is that of all others.
        right: (r, C).

    Returns:
        (count, C) float32.
    """
    rows = left.float() @ right.float()
    table = rows[-1:].repeat(count, 1)
    table[ids.long()] = rows[:-1]
    return table


def in_short(
    state: dict[str, Tensor], rows: dict[str, dict[str, Any]], packages: list[dict[str, Any]]
) -> dict[str, Any]:
    """What `in_full` undoes; tensors in float16.

    Args:
        state: tensors that are in the file.
        rows: by name, the keywords of `table_of`.
        packages: see `SHORT`.
    """
    halved = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}
    return {"state_dict": halved, SHORT: {"rows": rows, "packages": packages}}
