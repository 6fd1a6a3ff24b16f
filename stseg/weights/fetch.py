"""From a name to a file on this machine, whose hash is kept at first sight and compared later."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from stseg.utils import ASSETS, cache_folder, write_atomically
from stseg.weights.entries import SHIPS, Published, find

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "STSEG_WEIGHTS"


def get(name: str) -> Path:
    """The file of an entry, fetched where it is not here yet.

    It is looked for in $STSEG_WEIGHTS, then in $STSEG_CACHE/weights/NAME, and comes into the first
    of them that can be written. Of several processes one fetches it, and the others wait.

    Raises:
        ValueError: if there is no such name, or the file is another than the table's or than the
            one first seen under this name.
        OSError: if it cannot be fetched; says what to put where.
    """
    entry = find(name)
    path = whereabouts(entry)
    if path is None:
        path = _fetch(entry)
    elif not _is_known(entry, path):
        verify(entry, path)
    return path


def whereabouts(entry: Published) -> Path | None:
    """Where the file of an entry lies, None where it is not on this machine."""
    if entry.url.startswith(SHIPS):
        return ASSETS / entry.url.removeprefix(SHIPS)
    places = (folder / entry.file for folder in _folders(entry) if entry.file)
    return next((path for path in places if path.is_file()), None)


def verify(entry: Published, path: Path, cure: str = "Remove the file to fetch it again") -> str:
    """Read a file whole and compare its hash with the table's, or else with the first one seen.

    Args:
        entry: whose file it should be.
        path: of the file.
        cure: for the message.

    Returns:
        The sha256, which is kept with size and date where there was none.

    Raises:
        ValueError: if it is another file; names both hashes.
    """
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    found, record = digest.hexdigest(), _record(entry)
    expected = entry.sha256 or record.get("sha256")
    if expected and found != expected:
        seen = "" if entry.sha256 else f", as it was on {record['date']}"
        more = "" if entry.sha256 else f"; remove {_record_path(entry)} to take the new one"
        raise ValueError(
            f"{entry.name}: expected {entry.file} with sha256 {expected}{seen}, got {found} in "
            f"{path}. {cure}{more}."
        )
    if not entry.url.startswith(SHIPS):
        day = record.get("date", date.today().isoformat())
        _keep(entry, {"url": entry.url, **_stamp(path), "sha256": found, "date": day})
    return found


def _folders(entry: Published) -> list[Path]:
    own = os.environ.get(FOLDER_VARIABLE)
    return [*([Path(own).expanduser()] if own else []), _cache(entry)]


def _cache(entry: Published) -> Path:
    return cache_folder("$STSEG_CACHE") / "weights" / entry.name


def _fetch(entry: Published) -> Path:
    from filelock import FileLock

    from stseg.weights.download import UnreachableError, download

    folder = next((f for f in _folders(entry) if os.access(f, os.W_OK)), _cache(entry))
    own = os.environ.get(FOLDER_VARIABLE)
    now = f" (now {own})" if own else ""
    where = f"{entry.name}: expected {entry.file or 'a file'} at {folder}"
    if not entry.url:
        raise FileNotFoundError(f"{where}, and nobody publishes one: {entry.note}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{where}, which cannot be made ({error}). Set STSEG_CACHE.") from error
    path = folder / entry.file
    part = path.with_name(f"{path.name}.part")
    with FileLock(f"{path}.lock"):
        if path.is_file():  # another process was first
            return path
        logger.info("%s: fetching %s into %s", entry.name, entry.url, folder)
        try:
            download(entry.url, part)
        except UnreachableError as error:
            raise UnreachableError(
                f"{where}, and it cannot be had from {entry.url} ({error}). Download it elsewhere "
                f"and put it there, or set {FOLDER_VARIABLE}{now} to the folder that has it."
            ) from error
        try:
            verify(entry, part, f"It came from {entry.url} and is put away")
        except ValueError:
            part.unlink()  # or it would be gone on with
            raise
        os.replace(part, path)
        part.with_name(f"{part.name}.json").unlink(missing_ok=True)
    return path


def _record_path(entry: Published) -> Path:
    return _cache(entry) / f"{entry.file}.json"


def _record(entry: Published) -> dict[str, Any]:
    """What was seen first under this name; {} where nothing was."""
    with suppress(OSError, ValueError):
        return json.loads(_record_path(entry).read_text(encoding="utf-8"))
    return {}


def _keep(entry: Published, record: dict[str, Any]) -> None:
    path = _record_path(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(record, indent=2).encode())
    except OSError as error:
        logger.warning("%s cannot be written (%s): the hash is not kept.", path, error)


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}


def _is_known(entry: Published, path: Path) -> bool:
    """Whether the file is untouched since its hash was last compared: large ones take seconds."""
    return entry.url.startswith(SHIPS) or _stamp(path).items() <= _record(entry).items()
