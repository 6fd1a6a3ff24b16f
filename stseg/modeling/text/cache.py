"""Embeddings kept in memory and on disk: every row once, nothing stale.

An entry is what one row stands for: a name alone, or all names of a class whose mean it is.

Shapes: S entries, P templates, C channels of the embedding.
"""

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stseg.checkpoint import weights_digest
from stseg.utils import TensorCache

Entry = tuple[str, ...]


class EmbeddingCache:
    """The latest vocabularies' embeddings in memory, as the very tensors that are handed out."""

    def __init__(self, folder: str, most: int, limit: float = 0.0):
        """Start empty.

        Args:
            folder: of rows on disk, a file each, see `stseg.utils.TensorCache`; "" for none. A
                vocabulary that shares names with earlier ones needs the files of the others only,
                and a run that was stopped goes on where it was.
            most: rows kept in memory; the latest vocabulary stays whatever its size.
            limit: of the folder, GiB; 0 for none.
        """
        self.files = TensorCache(folder, limit, "Text") if folder else None
        self.most = most
        self.memory: dict[tuple[str, tuple[Entry, ...]], Tensor] = {}  # the latest last

    def get(
        self,
        key: str,
        entries: Sequence[Entry],
        make: Callable[[Sequence[Entry]], Tensor],
        *,
        block: int,
        device: torch.device,
    ) -> Tensor:
        """Look up embeddings, or make those that are nowhere.

        Args:
            key: of all that an embedding depends on besides its entry.
            entries: S of them, repeated ones allowed.
            make: n entries -> (n, P, C).
            block: entries given to `make` at once; what is made is kept on disk at once, too.
            device: where the embeddings shall be.

        Returns:
            (S, P, C). It is the cache's own tensor, not to be written to.
        """
        whole = (key, tuple(entries))
        embeds = self.memory.pop(whole, None)
        if embeds is None:
            embeds = self._collect(key, entries, make, block, device)
        self.memory[whole] = embeds.to(device)
        self._forget()
        return self.memory[whole]

    def _collect(
        self,
        key: str,
        entries: Sequence[Entry],
        make: Callable[[Sequence[Entry]], Tensor],
        block: int,
        device: torch.device,
    ) -> Tensor:
        """A new tensor, filled row by row so that there is never a second one of its size."""
        places: dict[Entry, list[int]] = {}
        for i, entry in enumerate(entries):
            places.setdefault(entry, []).append(i)
        stack = _Stack(len(entries), device)
        missing = []
        known = self._rows_in_memory(key)
        for entry, at in places.items():
            row = known.get(entry)
            if row is None and self.files:
                row = self.files.read(key, _digest(entry))
            if row is None:
                missing.append(entry)
            else:
                stack.put(at, row)
        missing.sort()  # names that begin alike share tokens
        starts = range(0, len(missing), block)
        for start in tqdm(starts, "text embeddings", leave=False, disable=len(starts) < 2):
            made = missing[start : start + block]
            for entry, row in zip(made, make(made), strict=True):
                stack.put(places[entry], row)
                if self.files:
                    self.files.write(key, _digest(entry), row)
        return stack.rows

    def _rows_in_memory(self, key: str) -> dict[Entry, Tensor]:
        rows: dict[Entry, Tensor] = {}
        for (made_under, entries), embeds in self.memory.items():
            if made_under == key:
                rows.update(zip(entries, embeds, strict=True))
        return rows

    def _forget(self) -> None:
        """Drop vocabularies that the latest one holds whole, and the oldest ones above `most`."""
        *older, (key, entries) = self.memory
        held = set(entries)
        for whole in older:
            if whole[0] == key and held.issuperset(whole[1]):
                del self.memory[whole]
        rows = sum(len(entries) for _, entries in self.memory)
        for whole in list(self.memory)[:-1]:
            if rows > self.most:
                rows -= len(whole[1])
                del self.memory[whole]


class _Stack:
    """(S, P, C) rows, allocated when the first tells its shape."""

    def __init__(self, size: int, device: torch.device):
        self.size, self.device = size, device
        self.rows = torch.empty(0, device=device)

    def put(self, at: Sequence[int], row: Tensor) -> None:
        if not self.rows.numel():
            self.rows = torch.empty(self.size, *row.shape, dtype=row.dtype, device=self.device)
        for i in at:
            self.rows[i] = row


def _digest(entry: Entry) -> str:
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()


class WeightsHash:
    """SHA-256 of a module's weights, computed again only when a tensor was written or replaced."""

    def __init__(self) -> None:
        """Nothing is hashed yet."""
        self.stamp: tuple = ()
        self.digest = ""

    def of(self, module: nn.Module) -> str:
        """The hash as 64 hex digits."""
        state = sorted(module.state_dict(keep_vars=True).items())
        stamp = tuple((name, t.data_ptr(), t._version) for name, t in state)
        if stamp != self.stamp:
            self.stamp, self.digest = stamp, weights_digest(dict(state))
        return self.digest
