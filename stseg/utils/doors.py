"""How a room names what others may use, without importing any of it beforehand."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from stseg.utils.dependencies import explained


def front_door(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package whose names stand in `__init__.pyi`.

    A name is imported when it is first asked for (PEP 562), so that whoever needs the NumPy parts
    of a room pays for no torch. The stub says where it comes from, `from .file import name`, to
    type checkers and to this function alike.

    Args:
        package: its `__name__`.
        file: its `__file__`.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    home = {alias.name: node.module for node in imports for alias in node.names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with explained(f"{package}.{name}"):
            return getattr(import_module(f"{package}.{home[name]}"), name)

    return get, lambda: sorted(home), sorted(home)
