"""The last few of many things, for several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class RecentItems(Generic[_Item]):
    """Keeps what was used last, by key; what was not used for longest goes first."""

    def __init__(self, most: int) -> None:
        """Start empty.

        Args:
            most: number of items that are kept.
        """
        self._most, self._lock = most, threading.Lock()
        self._items: OrderedDict[str, _Item] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> _Item | None:
        """The item, which counts as a use of it; None where it is not kept, or no more."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: str, item: _Item) -> None:
        """Keep it, in the place of what has its key and, if there are too many, of the oldest."""
        with self._lock:
            self._items[key] = item
            self._items.move_to_end(key)
            while len(self._items) > self._most:
                self._items.popitem(last=False)
