"""Several processes of Detectron2 in one: threads that each find themselves on a rank."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

from detectron2.utils import comm


class Ranks:
    """Stands in for `detectron2.utils.comm` in the threads of `run`."""

    def __init__(self, count, gathered=None):
        """`count` ranks; what each gives to be gathered is put on the list `gathered`."""
        self.count, self._own, self.gathered = count, threading.local(), gathered
        self._barrier, self._given = threading.Barrier(count, timeout=20), [b""] * count

    def run(self, monkeypatch, work):
        """What `work(rank)` returns on each rank; if one fails, the others end too."""
        with monkeypatch.context() as patch:
            patch.setattr(comm, "get_rank", self.rank)
            patch.setattr(comm, "get_world_size", lambda: self.count)
            patch.setattr(comm, "is_main_process", lambda: self.rank() == 0)
            patch.setattr(comm, "synchronize", self._barrier.wait)
            patch.setattr(comm, "all_gather", self._all_gather)
            with ThreadPoolExecutor(self.count) as pool:
                results = [pool.submit(self._on, rank, work) for rank in range(self.count)]
            # The first to fail, not one that waited for it in vain.
            errors = [e for r in results if (e := r.exception())]
            for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
                raise error
            return [result.result() for result in results]

    def rank(self):
        return self._own.rank

    def _on(self, rank, work):
        self._own.rank = rank
        try:
            return work(rank)
        except BaseException:
            self._barrier.abort()
            raise

    def _all_gather(self, value):
        if self.gathered is not None:
            self.gathered.append(value)
        self._given[self.rank()] = pickle.dumps(value)
        self._barrier.wait()
        found = [pickle.loads(given) for given in self._given]
        self._barrier.wait()
        return found
