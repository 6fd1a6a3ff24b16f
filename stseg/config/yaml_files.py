"""A YAML file and those it is based on, as keys with the file that sets each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from detectron2.utils.file_io import PathManager

from stseg.config.table import leaves
from stseg.utils import read_text

_BASE = "_BASE_"


def file_settings(path: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Any, Path]]:
    """Every key that a file or its `_BASE_` sets, with its value and its file; later ones win.

    Args:
        path: of the file.
        above: files that led to it.

    Raises:
        FileNotFoundError: if a file it is based on is missing.
        ValueError: if a file is no YAML mapping, has a key twice, or is based on itself.
    """
    resolved = path.resolve()
    if resolved in above:
        chain = " -> ".join(str(p) for p in (*above, resolved))
        raise ValueError(f"{path}: expected {_BASE} to come to an end, got a circle: {chain}.")
    content = _read(path)
    base = content.pop(_BASE, [])
    for name in base if isinstance(base, list) else [base]:
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"{path}: expected the name of a file, or a list of names, at {_BASE}, got "
                f"{name!r}. Name one, or take the line out."
            )
        yield from file_settings(_base_file(path, name), (*above, resolved))
    yield from ((key, value, path) for key, value in leaves(content))


def _base_file(path: Path, name: str) -> Path:
    if "://" in name:
        return Path(PathManager.get_local_path(name))
    base = path.parent / Path(name).expanduser()
    if not base.is_file():
        raise FileNotFoundError(
            f"{path}: expected the config it is based on ({_BASE}) at {str(base)!r}, got "
            "nothing there."
        )
    return base


def _read(path: Path) -> dict[str, Any]:
    text = read_text(path, str(path))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
        if node is not None:
            _refuse_repeated(node, str(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML, got text that is not: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: expected YAML, got text that is nested too deep.") from error
    if not isinstance(content, dict):
        got = "an empty file" if content is None else f"{type(content).__name__} {content!r:.60}"
        raise ValueError(f"{path}: expected keys with values, such as SEED: 1, got {got}.")
    return content


def _refuse_repeated(node: yaml.Node, where: str, prefix: str = "") -> None:
    """YAML forbids a key that stands twice in one mapping; PyYAML takes the last one."""
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in lines:
            raise ValueError(
                f"{where}: expected every key once, got {name} in line {lines[name]} and in line "
                f"{line}. Remove one, or put what is below both into one."
            )
        lines[name] = line
        _refuse_repeated(value, where, f"{name}.")
