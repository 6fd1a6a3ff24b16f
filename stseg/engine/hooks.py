"""Hooks of a training run.

Their order is: timer < schedule < shared statistics < broken pairs < moving average < checkpoint <
self-training < evaluation < best < pictures < writers. Evaluation comes after the checkpoint, so
what made it fail can be debugged; writers come last, so they see everything. State lives on all
ranks alike unless said otherwise.
"""

import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import hooks
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from torch import nn

from stseg.checkpoint import Checkpointer, write_json
from stseg.utils import get_random_state, write_atomically

logger = logging.getLogger(__name__)


class Checkpoints(hooks.PeriodicCheckpointer):
    """Save everything needed to resume, every `period` iterations and after the last one.

    All ranks, because the random states of all are gathered; rank 0 writes.
    """

    def __init__(
        self, checkpointer: Checkpointer, period: int, also_every: int = 0, kept: int = 0
    ) -> None:
        """Keep the parts.

        Args:
            checkpointer: writes the files.
            period: iterations between checkpoints.
            also_every: a second period, 0 for none.
            kept: checkpoints on the way that stay, the latest ones; 0 for all.
        """
        super().__init__(checkpointer, period)
        self._also_every, self._kept = also_every, kept

    def after_step(self) -> None:
        """Save if this iteration is due."""
        done = self.trainer.iter + 1
        if any(period and done % period == 0 for period in (self.period, self._also_every)):
            self.save_now(self.trainer.iter)
        if done >= self.max_iter:
            self.save_now(self.trainer.iter, is_final=True)

    def after_train(self) -> None:
        """Save the final one where a kill came between it and the last one on the way."""
        final = Path(self.checkpointer.save_dir, "model_final.pth")
        if self.trainer.start_iter >= self.max_iter and not final.is_file():
            self.save_now(self.max_iter - 1, is_final=True)

    def save_now(self, iteration: int, is_final: bool = False) -> None:
        """Save now under the usual name, in place of an earlier save in this iteration."""
        name = f"model_{'final' if is_final else f'{iteration:07d}'}"
        states = gather_random_states()
        saved = {"iteration": iteration, "random_states": states}
        self.checkpointer.save(name, shared=not is_final, **saved)
        if self._kept and comm.is_main_process():
            numbered = Path(self.checkpointer.save_dir).glob("model_" + "[0-9]" * 7 + ".pth")
            for path in sorted(numbered)[: -self._kept]:
                path.unlink()


def gather_random_states() -> list[dict[str, Any]]:
    """The random states of all processes, on rank 0; called by all."""
    return comm.gather(get_random_state())


class SharedStatistics(HookBase):
    """All processes have the first one's running statistics of BatchNorm, after every step.

    Each has seen images of its own, and a checkpoint holds the first one's: without this the others
    would evaluate, and label, with weights that nobody gets.
    """

    def __init__(self, model: nn.Module) -> None:
        """Find what moves.

        Args:
            model: bare.
        """
        norms = [x for x in model.modules() if isinstance(x, nn.modules.batchnorm._NormBase)]
        self._moving = [x for norm in norms for x in norm.buffers(recurse=False)]

    def after_step(self) -> None:
        """One message for all tensors of a type."""
        if comm.get_world_size() == 1:
            return
        for dtype in dict.fromkeys(x.dtype for x in self._moving):
            own = [x for x in self._moving if x.dtype == dtype]
            shared = torch.cat([x.detach().flatten() for x in own])
            torch.distributed.broadcast(shared, 0)
            for x, part in zip(own, shared.split([x.numel() for x in own]), strict=True):
                x.copy_(part.view_as(x))


class BrokenPairs(HookBase):
    """Counts the pairs of image and caption, of all processes, that others took the place of.

    Every step and all ranks, before the checkpoint, so that the total outlives a kill. The scalar
    "broken_pairs" is the total; the log has it after training.
    """

    def __init__(self) -> None:
        self._total, self._counted = 0, 0

    def after_step(self) -> None:
        """Add what the loader of each process has met since the last step."""
        met = self.trainer._trainer.data_loader.broken.total
        self._total += sum(comm.all_gather(met - self._counted))
        self._counted = met
        self.trainer.storage.put_scalar("broken_pairs", self._total, smoothing_hint=False)

    def after_train(self) -> None:
        """Tell the total."""
        if self._total:
            logger.warning(
                "%d pairs were broken, and others took their places; the log names each file that "
                "holds some, once, with the reason.",
                self._total,
            )

    def state_dict(self) -> dict[str, Any]:
        """The total, and the number of pairs that the order is one of."""
        return {"total": self._total, "pairs": len(self.trainer._trainer.data_loader.dataset)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting; warn where the data are not what they were."""
        self._total, before = state_dict["total"], state_dict["pairs"]
        now = len(self.trainer._trainer.data_loader.dataset)
        if now != before:
            logger.warning(
                "--resume: the run began with %d pairs and goes on with %d, in another order: some "
                "will be seen twice, and others not in this epoch.",
                before,
                now,
            )


class AtEvaluation(HookBase):
    """Calls `act` whenever `EvalHook` with the same period has just evaluated."""

    def __init__(self, period: int) -> None:
        self._period = period

    def after_step(self) -> None:
        """Act after an evaluation during training."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self.act()

    def after_train(self) -> None:
        """Act after the evaluation at the end."""
        # EvalHook's own condition: not after a failure.
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.act()

    def act(self) -> None:
        """What to do after an evaluation."""
        raise NotImplementedError


class KeepBest(AtEvaluation):
    """Keep the evaluated weights of the best evaluation as ``model_best.pth``.

    Rank 0, after evaluation. Best value and iteration are in ``model_best.json``, so they
    outlive a kill between evaluation and the next checkpoint. The file holds weights only
    (the moving average if there is one) and is never the one to resume from.
    """

    def __init__(
        self, period: int, checkpointer: Checkpointer, metric: str, weights: Callable[[], dict]
    ) -> None:
        """Keep the parts.

        Args:
            period: that of the evaluation.
            checkpointer: writes the file.
            metric: name of the scalar to maximise, e.g. "sem_seg/mIoU".
            weights: returns the state dict that was evaluated.
        """
        super().__init__(period)
        self._checkpointer, self._metric, self._weights = checkpointer, metric, weights
        self._record = os.path.join(checkpointer.save_dir, "model_best.json")
        self._best = -math.inf

    def before_train(self) -> None:
        """On resuming, remember the best so far."""
        if self.trainer.start_iter == 0 or not os.path.isfile(self._record):
            return
        with open(self._record, encoding="utf-8") as file:
            record = json.load(file)
        if record["metric"] == self._metric:
            self._best = record["value"]

    def act(self) -> None:
        """Save if the latest result beats the best one."""
        value, iteration = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        if math.isnan(value) or iteration != self.trainer.storage.iter:
            logger.warning(
                "TEST.BEST_METRIC: no result %r at iteration %d; the best checkpoint is not "
                "updated. Known results: %s",
                self._metric,
                self.trainer.storage.iter,
                ", ".join(sorted(k for k in self.trainer.storage.latest() if "/" in k)) or "none",
            )
            return
        if value <= self._best:
            logger.info("%s %.4f, best so far %.4f", self._metric, value, self._best)
            return
        self._best = value
        iteration = min(iteration, self.trainer.max_iter - 1)  # after the last one it counts on
        record = {"metric": self._metric, "value": value, "iteration": iteration}
        self._checkpointer.write("model_best", {"model": self._weights(), **record})
        write_json(self._record, record)


class Writers(hooks.PeriodicWriter):
    """Write scalars every `period` iterations. Rank 0; last of all hooks.

    The writers are built when training starts, because only then it is known which lines of
    ``metrics.json`` a resumed run will write again. The state holds the scalars that have not
    been written when the checkpoint is made, which a kill would lose.
    """

    def __init__(self, build_writers: Callable[[], list[EventWriter]], period: int) -> None:
        super().__init__([], period)
        self._build_writers = build_writers
        self._restored: dict[str, tuple[float, bool, int]] = {}
        self._written = -1

    def before_train(self) -> None:
        """Build the writers."""
        self._writers = self._build_writers()

    def after_step(self) -> None:
        """Write if this iteration is due."""
        super().after_step()
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._written = self.trainer.iter

    def after_train(self) -> None:
        """Write what is left, unless an iteration broke off: resuming takes a line for a proof."""
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()
            return
        for writer in self._writers:
            writer.close()

    def state_dict(self) -> dict[str, Any]:
        """The scalars to be written yet: value, whether it may be smoothed, iteration."""
        storage = self.trainer.storage
        hints = storage.smoothing_hints()
        latest = storage.latest().items()
        waiting = {k: (float(v), hints[k], at) for k, (v, at) in latest if at > self._written}
        return {"scalars": waiting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the scalars to be written yet."""
        self._restored = state_dict["scalars"]

    def put_restored(self, last_written: int) -> None:
        """Put what came after an iteration, and was not written, into the storage again."""
        self._written = last_written
        for name, (value, hint, at) in self._restored.items():
            if at > last_written:
                self.trainer.storage.put_scalar(name, value, smoothing_hint=hint, cur_iter=at)


class ProgressPrinter(CommonMetricPrinter):
    """Detectron2's line of progress for a run whose end may move: a round is tried once more."""

    def __init__(self, expected_end: Callable[[], int]) -> None:
        super().__init__(expected_end())
        self._expected_end = expected_end

    def write(self) -> None:
        """Log the line, with the time that is left from here."""
        self._max_iter = self._expected_end()
        super().write()


def trim_metrics(path: str, start_iter: int) -> int:
    """Drop the lines of ``metrics.json`` that a run from `start_iter` will write again.

    A half-written line goes too. When a new run starts in an old folder, the old file is kept
    as ``metrics.previous.json``.

    Returns:
        The last iteration that stays in the file, -1 if none.
    """
    if not os.path.isfile(path):
        return -1
    if start_iter == 0:
        os.replace(path, os.path.join(os.path.dirname(path), "metrics.previous.json"))
        return -1
    kept, last = [], -1
    with open(path, "rb") as file:
        for line in file:
            try:
                iteration = json.loads(line)["iteration"]
            except (ValueError, KeyError):
                continue
            if iteration < start_iter:
                kept.append(line)
                last = max(last, iteration)
    write_atomically(path, lambda file: file.writelines(kept))
    return last
