"""Tar shards of images and captions, as img2dataset writes them and webdataset reads them.

A shard's headers are read once. After that a pair is found by a seek, so that any order may be gone
through and entered anywhere; webdataset itself reads shards from end to end.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import torch

from stseg.data.opening import BrokenFileError
from stseg.data.readers.annotations import hash_of
from stseg.data.readers.caption_files import caption_of
from stseg.data.readers.label_cache import in_threads
from stseg.utils import TensorCache

_VERSION = 1  # of the index; a change makes it anew
_CACHE = "$STSEG_CACHE/pairs"
# What members end in behind the first dot; of several of one sample the first counts.
_IMAGES = ("jpg", "jpeg", "png", "webp")
_CAPTIONS = ("txt", "text", "json")
_BLOCK = tarfile.BLOCKSIZE
_MOST_BYTES = 2**31 - 1  # of a member; and of blocks of a shard

_Span = tuple[int, int]  # of a member with its headers: first block, number of bytes


class ShardPairs:
    """The complete samples of tar shards: an image and a caption of one name up to the first dot.

    Shards are opened anew for every pair: processes share no place in a file, and thousands of
    shards need no more open files than one.
    """

    def __init__(
        self, paths: Sequence[str], rows: Sequence[np.ndarray], incomplete: int = 0
    ) -> None:
        """Put shards one behind the other.

        Args:
            paths: of the shards.
            rows: (n, 4) int32 for each, see `index_shard`.
            incomplete: samples that are left out.
        """
        self._paths, self.incomplete = list(paths), incomplete
        self._rows = np.concatenate([np.empty((0, 4), np.int32), *rows])
        self._ends = np.cumsum([len(part) for part in rows], dtype=np.int64)

    @classmethod
    def of(cls, paths: Sequence[str], name: str) -> ShardPairs:
        """Index shards, or take what an earlier run found out about them.

        Args:
            paths: of tars without compression.
            name: of the data set, for the progress bar.

        Raises:
            BrokenFileError: if one cannot be read to its end; names it.
        """
        cache = TensorCache(_CACHE, 0.0, "Shard index")
        found = in_threads(lambda path: _kept_index(path, cache), paths, f"indexing {name}")
        return cls(paths, [rows for rows, _ in found], sum(count for _, count in found))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return self._rows.nbytes + self._ends.nbytes

    def read(self, index: int) -> dict[str, Any]:
        """A pair; see `PairIndex`."""
        path = self.place(index)
        image_at, image_bytes, text_at, text_bytes = self._rows[index].tolist()
        with open(path, "rb") as file:
            name, content = _member(file, path, image_at, image_bytes)
            text_name, text = _member(file, path, text_at, text_bytes)
        caption = caption_of(text, f"{path}/{text_name}")
        return {"file_name": f"{path}/{name}", "image_bytes": content, "caption": caption}

    def place(self, index: int) -> str:
        """The shard that a pair lies in."""
        return self._paths[int(np.searchsorted(self._ends, index, side="right"))]


def _kept_index(path: str, cache: TensorCache) -> tuple[np.ndarray, int]:
    stat = os.stat(path)
    key = hash_of(_VERSION, os.path.realpath(path), stat.st_size, stat.st_mtime_ns)[:32]
    kept = cache.read("shards", key)
    if kept is None:
        rows, incomplete = index_shard(path)
        first = np.array([[incomplete, 0, 0, 0]], dtype=np.int32)
        kept = torch.from_numpy(np.concatenate([first, rows]))
        cache.write("shards", key, kept)
    content = kept.numpy()
    return content[1:], int(content[0, 0])


def index_shard(path: str) -> tuple[np.ndarray, int]:
    """Read the headers of a shard.

    Returns:
        (n, 4) int32, for each complete sample in the order of the shard the first block and the
        bytes of its image, and the same of its caption, headers included; and the number of samples
        without an image or a caption, or with an empty one.

    Raises:
        BrokenFileError: if it is cut off, damaged or compressed.
    """
    samples: dict[str, dict[str, _Span]] = {}
    end = 0
    try:
        if os.path.getsize(path) > _BLOCK * _MOST_BYTES:
            raise tarfile.ReadError("it is too large: split it")
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                key, kind = _key_and_kind(member.name)
                if member.isreg() and kind in (*_IMAGES, *_CAPTIONS):
                    spans = samples.setdefault(key, {})
                    size = member.offset_data + member.size - member.offset
                    if 0 < member.size and size <= _MOST_BYTES:
                        spans[kind] = member.offset // _BLOCK, size  # the last of a name, as in tar
        _check_end(path, end)
    except (tarfile.TarError, EOFError) as error:
        raise BrokenFileError(
            f"Shard {path}: expected a whole tar without compression, got one that cannot be read "
            f"to its end ({error}). Get or make it anew, or take it out."
        ) from error
    chosen = [(_first(spans, _IMAGES), _first(spans, _CAPTIONS)) for spans in samples.values()]
    rows = [(*image, *caption) for image, caption in chosen if image and caption]
    return np.array(rows, dtype=np.int32).reshape(-1, 4), len(samples) - len(rows)


def _key_and_kind(name: str) -> tuple[str, str]:
    """The name of the sample, with its folder, and what is behind the first dot of the file's."""
    folder, _, file = name.removeprefix("./").rpartition("/")
    stem, _, kind = file.partition(".")
    return f"{folder}/{stem}", kind.lower() if stem else ""


def _first(spans: dict[str, _Span], kinds: Sequence[str]) -> _Span | None:
    return next((spans[kind] for kind in kinds if kind in spans), None)


def _check_end(path: str, end: int) -> None:
    """Python's tarfile takes a damaged or cut header behind the first one for the end."""
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(_BLOCK).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end}")


def _member(file: BinaryIO, path: str, block: int, size: int) -> tuple[str, bytes]:
    """Name and content of a member, whose part of the shard is a small tar of its own."""
    file.seek(block * _BLOCK)
    try:
        with tarfile.open(fileobj=io.BytesIO(file.read(size)), mode="r:") as tar:
            member = tar.next()
            stream = None if member is None else tar.extractfile(member)
            if member is None or stream is None:
                raise tarfile.ReadError("no file")
            return member.name, stream.read()
    except tarfile.TarError as error:
        raise BrokenFileError(
            f"Shard {path}: expected a member at byte {block * _BLOCK}, where it was when the run "
            f"began, got something else ({error}). Leave shards as they are while they are used."
        ) from error
