"""One file over https: resumed where it was cut off, tried again, refused where it is a page."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import ssl
import sys
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from stseg.utils import write_atomically

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
TRIES = 3  # in a row that bring nothing further
PAUSE = 1.0  # seconds before the second, twice that before the third

_BLOCK = 1 << 20
_DRIVE = re.compile(r"https://drive\.google\.com/file/d/([\w-]+)")
_HUB = "https://huggingface.co"
_PASSING = (408, 416, 429)  # refusals that may be over next time
_LOST = (URLError, ConnectionError, TimeoutError, HTTPException, ssl.SSLError)


class UnreachableError(OSError):
    """A file cannot be had from where it is published; the text is the reason, in a clause."""


def download(url: str, part: Path) -> None:
    """Bring a file whole, or leave what has come to the next call.

    Args:
        url: http or https, or the page of a file on Google Drive, which is fetched by gdown where
            that is installed. $HF_ENDPOINT takes the place of https://huggingface.co.
        part: file that is written, or gone on with; `<part>.json` beside it says of what.

    Raises:
        UnreachableError: if the server cannot be reached, refuses, or sends a web page.
        OSError: if the disk has no room.
    """
    if drive := _DRIVE.match(url):
        if find_spec("gdown"):
            return _by_gdown(drive[1], part)
        url = (
            f"https://drive.usercontent.google.com/download?id={drive[1]}&export=download&confirm=t"
        )
    elif url.startswith(_HUB):
        url = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/") + url.removeprefix(_HUB)
    tries, best = 0, _size(part)
    while True:
        try:
            return _go_on(url, part)
        except _LOST as error:
            code = getattr(error, "code", None)  # where the server answered
            reason = str(error if code else getattr(error, "reason", error))
            if code and code < 500 and code not in _PASSING:
                raise UnreachableError(reason) from error
            tries = 1 if _size(part) > best else tries + 1
            best = max(best, _size(part))
            if tries >= TRIES:
                raise UnreachableError(reason) from error
            logger.info("%s: %s; trying again.", url, reason)
            time.sleep(PAUSE * tries)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _go_on(url: str, part: Path) -> None:
    """One request, for what is missing where the server can give it."""
    memory, start = _memory(url, part), _size(part)
    if start and start == memory.get("total"):
        return
    headers = {"User-Agent": "stseg", "Accept-Encoding": "identity"}
    if start and memory.get("version"):
        headers |= {"Range": f"bytes={start}-", "If-Range": memory["version"]}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # what is here is longer than what is there
            part.unlink(missing_ok=True)
        raise
    with response:
        block = response.read1(_BLOCK)
        _refuse_page(response, block)
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise ConnectionError(f"other bytes came than those from {start} on")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        if not start:
            part.unlink(missing_ok=True)
            memory = {"url": url, "version": _version(response), "total": total}
            write_atomically(_beside(part), json.dumps(memory).encode())
        _check_room(part, (total or 0) - start)
        _receive(response, block, part, start, total)


def _receive(
    response: HTTPResponse, block: bytes, part: Path, start: int, total: int | None
) -> None:
    bar = tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=part.name.removesuffix(".part"),
        disable=None,  # where nobody watches
    )
    with bar, open(part, "ab") as file:
        while block:
            bar.update(file.write(block))
            block = response.read1(_BLOCK)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and _size(part) < total:
        raise ConnectionError(f"the connection ended after {_size(part)} of {total} bytes")


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _memory(url: str, part: Path) -> dict:
    """What the server said when the part was begun; {} for a part of something else."""
    with suppress(OSError, ValueError):
        memory = json.loads(_beside(part).read_text(encoding="utf-8"))
        return memory if memory["url"] == url else {}
    return {}


def _version(response: HTTPResponse) -> str | None:
    """What If-Range takes: a strong ETag or the date of the last change."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _refuse_page(response: HTTPResponse, block: bytes) -> None:
    """Such as Google Drive's on its quota, or that of a hotel's network."""
    is_page = re.match(rb"\s*<[!a-z]", block, flags=re.IGNORECASE)
    if not is_page and response.headers.get_content_type() != "text/html":
        return
    page = (block + response.read(4096)).decode("utf-8", "replace")
    title = re.search(r"title>\s*([^<]*?)\s*<", page, flags=re.IGNORECASE)
    raise UnreachableError(f"a web page came instead of the file{f': {title[1]}' if title else ''}")


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(
            f"{part.parent}: expected {needed / 1e9:.2f} GB of room on the disk, got "
            f"{free / 1e9:.2f}. Make room, or set STSEG_WEIGHTS to a folder on another disk."
        )


def _by_gdown(drive_id: str, part: Path) -> None:
    """Google's own questions before large files are gdown's business; it resumes, too."""
    target = part.with_suffix(".gdown")  # it takes a file of the final name for whole
    try:
        import_module("gdown").download(
            id=drive_id, output=str(target), quiet=not sys.stderr.isatty(), resume=True
        )
        os.replace(target, part)
    except Exception as error:
        raise UnreachableError(f"gdown: {str(error).strip() or type(error).__name__}") from error
