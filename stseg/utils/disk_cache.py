"""What is costly to compute, kept in a folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stseg.utils.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "STSEG_CACHE"

_CHECKSUM = 32  # bytes before the tensor
_SUFFIX = ".tensor"
_GIB = 2**30


def cache_folder(setting: str | os.PathLike[str]) -> Path:
    """The folder that a setting names: ~ and $VARIABLES are expanded, at every call anew.

    $STSEG_CACHE is ~/.cache/stseg where it is not set; "$STSEG_CACHE/text" is the default of the
    text embeddings, and label maps drawn from annotations lie in $STSEG_CACHE/labels.
    """
    root = os.environ.get(ROOT_VARIABLE) or "~/.cache/stseg"
    text = os.fspath(setting).replace(f"${ROOT_VARIABLE}", root)
    return Path(os.path.expandvars(text)).expanduser()


class TensorCache:
    """A folder of tensors, `<group>/<key>.tensor`, written whole and checked when read.

    Processes may share a folder. Above its limit the files that nobody has used for longest give
    way, but none that was used since this cache was opened: a set of images that does not fit would
    else drive itself out, one after the other, and none would ever be found.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: float, what: str):
        """Use a folder; it is made when first written to.

        Args:
            folder: see `cache_folder`.
            limit: of all files in it, GiB; 0 for none.
            what: it holds, for messages, such as "Text".
        """
        self.folder = cache_folder(folder)
        self._limit = limit * _GIB
        self._what = what
        self._writable = True
        self._opened = time.time()
        self._size = 0.0  # of the files, as far as is known
        self._look_at = 0.0  # size from which to look again: other processes write as well

    def read(self, group: str, key: str) -> Tensor | None:
        """The tensor on the CPU, or None where it is missing or, with a warning, damaged."""
        path = self.path(group, key)
        try:
            content = path.read_bytes()
            checksum, payload = content[:_CHECKSUM], content[_CHECKSUM:]
            if checksum != _checksum(payload):
                raise ValueError("its content is damaged")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            logger.warning(
                "%s cache %s cannot be used (%s); computing again.", self._what, path, error
            )
            return None
        with suppress(OSError):  # of a folder that is only for reading
            os.utime(path)
        import torch

        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)

    def write(self, group: str, key: str, tensor: Tensor) -> None:
        """Keep a tensor; a folder that cannot be written costs the cache, not the run."""
        if not self._writable:
            return
        import torch

        content = io.BytesIO()
        torch.save(tensor.detach().cpu(), content)
        payload = content.getvalue()
        path = self.path(group, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._makes_room(_CHECKSUM + len(payload)):
                write_atomically(path, _checksum(payload) + payload)
        except OSError as error:
            self._writable = False  # one warning, not one per tensor
            logger.warning(
                "%s cache %s cannot be written (%s); going on without.", self._what, path, error
            )

    def path(self, group: str, key: str) -> Path:
        """Where a tensor is kept."""
        return self.folder / group / f"{key}{_SUFFIX}"

    def _makes_room(self, size: int) -> bool:
        """Whether so many bytes more may be written; deletes old files where that helps."""
        if not self._limit:
            return True
        if self._size + size > self._look_at:
            self._size = self._shrink(self._limit - size)
            self._look_at = min(self._limit, self._size + self._limit / 20)
            if self._size + size > self._limit:
                self._writable = False
                logger.warning(
                    "%s cache %s is full (%.1f GiB); going on without adding to it.",
                    self._what,
                    self.folder,
                    self._limit / _GIB,
                )
                return False
        self._size += size
        return True

    def _shrink(self, most: float) -> float:
        """Delete the files unused for longest, down to nine tenths of the limit; what is left."""
        files = []
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # another process deleted it
                if path.is_file():
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, path))
        left = float(sum(size for _, size, _ in files))
        if left <= most:
            return left
        for used, size, path in sorted(files):
            if left <= min(most, 0.9 * self._limit) or used >= self._opened:
                break
            with suppress(OSError):
                path.unlink()
                left -= size
        return left


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM).digest()
