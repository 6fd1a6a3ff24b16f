"""Counts the bytes of tensors that are alive, on any device, the meta device included.

On "meta" nothing is computed and nothing allocated, so that the memory of a large step can be told
on a small machine: what tensors hold, without the allocator's gaps and the libraries' workspaces.
"""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """While active, follows every storage that an operation returns until it is freed.

    Attributes:
        now: bytes alive, of storages seen.
        peak: the most since `reset`.
    """

    def __init__(self, known: list[torch.Tensor] | None = None):
        """Begin with the storages of `known` tensors, such as a model's parameters."""
        super().__init__()
        self.now = self.peak = 0
        self._seen: dict[int, int] = {}
        for tensor in known or []:
            self._note(tensor)

    def reset(self) -> None:
        """Begin a new peak."""
        self.peak = self.now

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and note what it returns."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        return result

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._seen.pop(key, 0)
