"""Writing files: never half, never over what was read, never over what somebody else made."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

PathLike_ = str | os.PathLike[str]

#: Of a full disk, and of a quota that is used up.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

#: Stands near the beginning of every page, table and picture that a command writes by name.
MARK = b"stseg"


def irregular_kind(path: PathLike_) -> str:
    """What stands at a path in the place of a file, such as "a pipe"; "" for a file or nothing.

    Opening a pipe or a device may wait for ever.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads in a circle"
        return "a link that leads nowhere" if os.path.islink(path) else ""
    if stat.S_ISREG(mode):
        return ""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def as_bytes(text: str) -> bytes:
    r"""Text as UTF-8, also where it holds a file name that is none.

    What cannot be told stands there as in JSON: \udcff for the byte 255.
    """
    return text.encode("utf-8", "backslashreplace")


def check_output(
    path: PathLike_,
    flag: str,
    inputs: Mapping[str, PathLike_ | None] | None = None,
    is_ours: Callable[[Path], bool] | None = None,
) -> None:
    """Refuse to write over an input, or over a file that is not one of ours.

    Args:
        path: of the output, there or not.
        flag: that named it, for messages.
        inputs: files and folders that are read, by what named them; None where not given.
        is_ours: whether a file that is there may be replaced; one with our `MARK` by default.

    Raises:
        ValueError: names both files.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{flag}: expected a file to write, got the folder {path}.")
    for name, source in (inputs or {}).items():
        if source is not None and _is_same(path, Path(source)):
            raise ValueError(
                f"{flag}: expected another file than the inputs, got {path}, which is that of "
                f"{name}. Name another one."
            )
    if path.exists() and not (is_ours or _has_mark)(path):
        raise ValueError(
            f"{flag}: expected a new file, or one that this command wrote before, got {path}, "
            "which is something else. Name another one, or remove it."
        )


def _is_same(path: Path, other: Path) -> bool:
    try:
        if path.exists() and other.exists():
            return path.samefile(other)
        return path.resolve() == other.resolve()
    except (OSError, ValueError):  # names given as text may be too long for a path
        return False


def _has_mark(path: Path) -> bool:
    with open(path, "rb") as file:
        return MARK in file.read(4096)


def write_atomically(path: PathLike_, content: bytes | Callable[[BinaryIO], Any]) -> None:
    """Write beside the target, then move into its place.

    Args:
        path: local file; its folder exists.
        content: the bytes, or what writes them to a binary file.

    Raises:
        OSError: if the disk is full; names the file, which is as it was before.
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
    except (OSError, RuntimeError) as error:  # torch.save puts its own error around the disk's
        if code := full_disk(error):
            raise OSError(code, no_room(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def full_disk(error: BaseException | None) -> int:
    """The number of the system's error "no room" behind an error, 0 where it is another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return error.errno
        error = error.__cause__ or error.__context__
    return 0


def no_room(path: PathLike_) -> str:
    """What to say of a file that a full disk, or a quota, has no room for."""
    folder = Path(path).absolute().parent
    free = shutil.disk_usage(folder).free / 1e6
    return (
        f"{path}: expected room for this file, got a full disk ({free:.1f} MB free in {folder}). "
        "What was there before is as it was. Make room, or name a folder on another disk, and "
        "repeat the command; a run goes on with --resume."
    )
