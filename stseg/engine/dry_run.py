"""Dry runs: every phase of a run on a few images, and what each phase costs."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from tabulate import tabulate

from stseg.config import trusted_labels
from stseg.data import check_registered
from stseg.utils import watching

logger = logging.getLogger(__name__)

_GIB = 1024**3


def make_dry(cfg: CfgNode, images: int, processes: int) -> None:
    """Shrink a run to every one of its phases on a few images; model and sizes stay.

    Args:
        cfg: changed in place.
        images: of every data set.
        processes: in all; each trains on one image per step.
    """
    st = cfg.SELF_TRAINING
    cfg.defrost()
    cfg.DATASETS.MAX_IMAGES = images
    cfg.SOLVER.IMS_PER_BATCH = processes * cfg.SOLVER.ACCUMULATE_STEPS
    cfg.SOLVER.MAX_ITER = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = cfg.SOLVER.LOG_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 0
    if st.ENABLED and st.ROUNDS > 0:
        cfg.SOLVER.MAX_ITER = st.ROUNDS = min(st.ROUNDS, 2)
        st.ROUND_ITERS = 1
        # So little is learnt that the guard lets the second round begin, whatever the weights.
        cfg.SOLVER.BASE_LR = 1e-9
    st.SOURCE.FRACTION = 0.0  # no room in a batch of one image
    # Weights may still be random: the labels must not be missing for that.
    st.GATE.THRESH = 0.0
    st.VLM.MIN_PRESENCE = st.VLM.MIN_PROB = st.VLM.MIN_MARGIN = 0.0
    st.SAM_CACHE_DIR = ""  # times are those of images that were never seen
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "dry_run")
    cfg.freeze()


def check_sets(cfg: CfgNode, eval_only: bool = False) -> None:
    """Refuse a run one of whose data sets cannot be listed, and name all of them at once.

    Args:
        cfg: of the run; `register_from_cfg` and `register_target` have been called.
        eval_only: nothing will be trained.

    Raises:
        ValueError: tells why each cannot be listed, and which test sets can.
    """
    listed = {"DATASETS.TEST": cfg.DATASETS.TEST}
    if not eval_only:
        listed["DATASETS.TRAIN"] = cfg.DATASETS.TRAIN
        listed["SELF_TRAINING.SOURCE.DATASETS"] = cfg.SELF_TRAINING.SOURCE.DATASETS
        listed["SELF_TRAINING.VLM.GROUND_TRUTH"] = trusted_labels(cfg)
    problems = {}
    for key, names in listed.items():
        for name in names:
            try:
                check_registered(name, key)
                DatasetCatalog.get(name)
            except (FileNotFoundError, ValueError) as error:
                problems[name] = f"  {error.args[0]}"
    if problems:
        present = tuple(name for name in cfg.DATASETS.TEST if name not in problems)
        raise ValueError(
            "--dry-run: expected every data set of the run, for training would fail later without "
            f"it, got {len(problems)} that cannot be listed.\n"
            + "\n".join(problems.values())
            + "\n"
            f'Without the missing test sets the run has DATASETS.TEST "{present}".'
        )


@contextmanager
def measured() -> Iterator["Phases"]:
    """Time the phases of what runs inside, and log them as a table at the end or at a failure."""
    phases = Phases()
    with watching(phases.measure):
        try:
            yield phases
        finally:
            if comm.is_main_process():
                logger.info("Phases of the dry run:\n%s", phases.to_text())


@dataclass
class _Row:
    calls: int = 0
    seconds: float = 0.0
    last: float = 0.0
    memory: float = 0.0
    cuda: float = 0.0


class Phases:
    """Seconds and peak memory of named phases; a phase inside another counts for itself only."""

    def __init__(self) -> None:
        """Start the clock; what belongs to no phase is "the rest"."""
        self.rows: dict[str, _Row] = {"the rest": _Row(calls=1)}
        self._open = ["the rest"]
        self._since = time.perf_counter()
        _take_peaks()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Book what happens inside on a phase."""
        self._book()
        row = self.rows.setdefault(name, _Row())
        row.calls, row.last = row.calls + 1, 0.0
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def to_text(self) -> str:
        """Table in the order in which phases first began; memory in GiB, of this process alone."""
        self._book()
        headers = ["phase", "calls", "seconds", "last call", "peak GiB"]
        has_cuda = torch.cuda.is_available()
        headers += ["peak CUDA GiB"] * has_cuda
        rows = [_cells(name, row, has_cuda) for name, row in list(self.rows.items())[1:]]
        rows.append(_cells("the rest", self.rows["the rest"], has_cuda))
        every = list(self.rows.values())
        total = _Row(
            calls=1,
            seconds=sum(row.seconds for row in every),
            memory=max(row.memory for row in every),
            cuda=max(row.cuda for row in every),
        )
        rows.append(_cells("in all", total, has_cuda))
        colalign = ["left"] + ["right"] * (len(headers) - 1)
        return tabulate(rows, headers=headers, disable_numparse=True, colalign=colalign)

    def _book(self) -> None:
        """Book what has passed since the last call on the innermost phase."""
        now, row = time.perf_counter(), self.rows[self._open[-1]]
        memory, cuda = _take_peaks()
        row.seconds, row.last = row.seconds + now - self._since, row.last + now - self._since
        row.memory, row.cuda = max(row.memory, memory), max(row.cuda, cuda)
        self._since = now


def _cells(name: str, row: _Row, has_cuda: bool) -> Sequence[str]:
    last = "" if row.calls < 2 else f"{row.last:.1f}"
    cells = [name, str(row.calls), f"{row.seconds:.1f}", last, f"{row.memory:.1f}"]
    return cells + [f"{row.cuda:.1f}"] * has_cuda


def _take_peaks() -> tuple[float, float]:
    """Highest memory in GiB since the last call: resident, and on this process's GPU.

    Resident memory is 0 where the system does not tell (anything but Linux).
    """
    cuda = 0.0
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        cuda = torch.cuda.max_memory_allocated() / _GIB
        torch.cuda.reset_peak_memory_stats()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        return int(peak.split()[1]) * 1024 / _GIB, cuda
    except (OSError, StopIteration):
        return 0.0, cuda
