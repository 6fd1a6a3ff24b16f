"""Writing files so that a kill at any moment leaves the old file or the new one, never half."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(
    path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], Any]
) -> None:
    """Write beside the target, then move into its place.

    Args:
        path: local file; its folder exists.
        content: the bytes, or what writes them to a binary file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
