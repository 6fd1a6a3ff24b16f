"""One inference at a time; some may wait, and who comes after these is told when to return."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stseg.tools.serving.request_limits import RefusedError

_Result = TypeVar("_Result")


class WaitingLine:
    """Runs work one by one, in the order in which it came, in a thread of its own."""

    def __init__(self, length: int = 16) -> None:
        """Start with nobody in it.

        Args:
            length: how many may wait while another is served.
        """
        self.length = length
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stseg-serve")
        self._lock = threading.Lock()
        self._inside, self._seconds = 0, 1.0

    @property
    def inside(self) -> int:
        """How many are served or wait."""
        return self._inside

    async def turn(self, work: Callable[[], _Result]) -> _Result:
        """Wait for one's turn and give what `work` returns.

        Raises:
            RefusedError: with status 503, if the line is full.
        """
        with self._lock:
            if self._inside > self.length:
                wait = max(1, math.ceil(self._seconds * self._inside))
                raise RefusedError(
                    f"Server: expected at most {self.length} requests that wait, got one more. "
                    f"Send it again in {wait} s.",
                    status=503,
                    retry_after=wait,
                )
            self._inside += 1
        future = self._worker.submit(self._timed, work)
        future.add_done_callback(lambda _: self._leave())  # also where the client has gone away
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Serve nobody else; wait for the one that is served."""
        self._worker.shutdown(cancel_futures=True)

    def _timed(self, work: Callable[[], _Result]) -> _Result:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._seconds = time.perf_counter() - start

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
