"""Rounds of self-training inside a trainer (paper, section 2.3): label, train, judge, repeat.

All of it lives beside the model: a checkpoint holds no part of it but the hook's small state, and
evaluation knows nothing of it. Files of a run, with a config below OUTPUT_DIR/self_training:

    start.pth, start.npz         the starting weights, and what they said about the guard's images
    round_01_start.pth           where to go back to while a round may still be undone
    round_01-<key>/              pseudo-labels, see `stseg.self_training.store`
    round_01.html, .png          the page to look at
    templates.json               what `SELF_TRAINING.TEMPLATES` has chosen
    seen.json                    which classes stage 1 had, as what, and their weights in eq. 6
    rounds.json                  what every round brought, and the verdict

A boundary between rounds depends on nothing but the checkpoint saved right before it and on these
files, so it can be killed anywhere and done again.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from torch import nn

from stseg.checkpoint import WeightFacts, changeable_state, read_checkpoint, write_json
from stseg.config import check
from stseg.data import balance_weights, spread
from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.self_training.guard import GuardSettings, RoundVerdict, judge_round, judge_run
from stseg.self_training.online_teacher import OnlineTeacher, TaughtLoader
from stseg.self_training.round_page import write_round_page
from stseg.self_training.snapshot import Snapshot
from stseg.self_training.store import PseudoLabelStore
from stseg.utils import phase, some_of, write_atomically

logger = logging.getLogger(__name__)

NOT_JUDGED = "not judged: SELF_TRAINING.GUARD.ENABLED is off"


class RoundTrainer(Protocol):
    """What rounds ask of a trainer of Detectron2; `TrainsInRounds` gives it to any."""

    optimizer: torch.optim.Optimizer

    def train_on(self, loader: Iterable) -> None:
        """Go on with another loader, from the next iteration on; no random number is drawn."""

    def stop(self) -> None:
        """Leave out the iterations that remain; what comes after training is done as usual."""

    def save_checkpoint(self, is_final: bool = False) -> None:
        """Save this iteration's checkpoint again, after something has changed; all ranks."""


class SamPseudoLabelHook(HookBase):
    """Makes pseudo-labels before round 1 and after each round, and undoes rounds that harm.

    All ranks; behind the schedule and before evaluation. Acts every `round_iters` iterations.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        labeler: DatasetLabeler,
        loader: Callable[..., Iterable[list[dict[str, Any]]]],
        folder: str | PathLike[str],
        rounds: int,
        round_iters: int,
        average: Any = None,
        probe: Callable[[nn.Module], Snapshot] | None = None,
        limits: GuardSettings | None = None,
        online: bool = False,
        balanced: bool = False,
        pictures: int = 12,
        choose: Callable[[nn.Module], None] | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            model: the bare segmentor that is trained, with Detectron2's interface: losses in
                training, and in evaluation "sem_seg", (T, H, W) in [0, 1].
            labeler: of the target's images.
            loader: called with the iteration to start from, records of labelled images (class ids,
                255 where none, 65535 from 255 classes on) and `weights`, how often each is
                wanted (None: all alike); gives batches without end.
            folder: gets the files.
            rounds: at most so many.
            round_iters: iterations of a round.
            average: moving average of the weights, which labels and is judged then. It has
                `applied()`, a context in which the model holds it, and a `state_dict` to load.
            probe: what the guard asks, such as `partial(take_snapshot, ...)`; None judges nothing.
            limits: of the guard; None takes the usual ones.
            online: label every batch anew; the loader gives what `OnlineTeacher` takes.
            balanced: ask the loader for images with rare classes more often.
            pictures: images on the page of a round; 0 writes none.
            choose: changes the model's facts before round 1, after the guard has seen the start.
        """
        check("SELF_TRAINING.ROUND_ITERS", round_iters)
        self._model, self._labeler, self._loader = model, labeler, loader
        self._rounds, self._period, self._average = rounds, round_iters, average
        self._probe, self._limits, self._balanced = probe, limits, balanced
        self.target, self._folder = labeler.target, Path(folder)
        self._pictured = spread(pictures, len(self.target.records))
        self._choose = choose
        self._start: Snapshot | None = None
        self._online = OnlineTeacher(labeler, model, self._evaluated) if online else None
        self._completed, self._verdict = 0, ""
        self._weights = ""  # digest of those that made the labels of the present round
        self._history: list[dict[str, Any]] = []

    # --- the hook ---

    def before_train(self) -> None:
        """Label for round 1, or find the labels of the round that was interrupted."""
        if self.trainer.max_iter < self._rounds * self._period:
            raise ValueError(
                f"max_iter: expected {self._rounds} rounds of {self._period} iterations, got "
                f"{self.trainer.max_iter}: the verdict would never come. Raise SOLVER.MAX_ITER."
            )
        if self.trainer.start_iter > 0 and not self._weights:
            raise ValueError(
                "Rounds: expected their state in the checkpoint to go on from, got none. Register "
                "the hook before the checkpoint is loaded, or start anew."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        if comm.is_main_process() and self.target.seen is not None:
            write_json(self._folder / "seen.json", self.target.seen)
        if not self._weights:
            self._begin()
            return
        self._tidy()
        if self._probe is not None:
            self._start = Snapshot.load(self._existing("start.npz"))
        if self._verdict:
            self.trainer.stop()
        else:
            self._train_on(self._completed + 1)

    def after_step(self) -> None:
        """End a round: judge it, undo it if it harmed, and label for the next one."""
        done = self.trainer.iter + 1
        number = done // self._period
        if self._verdict or done % self._period or self._completed >= number:
            return
        self._finish_round(number)
        self.trainer.save_checkpoint(is_final=bool(self._verdict))
        self._tidy()

    def state_dict(self) -> dict[str, Any]:
        """Where the rounds stand; plain values."""
        return {
            "completed": self._completed,
            "weights": self._weights,
            "verdict": self._verdict,
            "history": self._history,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._completed, self._weights = state_dict["completed"], state_dict["weights"]
        self._verdict, self._history = state_dict["verdict"], list(state_dict["history"])

    # --- rounds ---

    def _begin(self) -> None:
        if comm.is_main_process():
            self._write_weights(self._folder / "start.pth")
        if self._probe is not None:
            self._start = self._snapshot()
            if comm.is_main_process():
                self._start.save(self._folder / "start.npz")
        comm.synchronize()
        if self._choose is not None:
            with self._evaluated(), self._labeler.cached(self._model):
                self._choose(self._model)
        if problem := self._begin_round(1):
            raise ValueError(problem)

    def _begin_round(self, number: int) -> str:
        """Label with the present weights and train on that; returns why nothing was labelled."""
        if comm.is_main_process():
            self._write_weights(self._round_start(number))
        with self._evaluated():
            weights = comm.all_gather(self._labeler.digest(self._model))[0]
            if self._online is None:
                store = self._store(number, weights)
                self._labeler.fill(store, self._model, self._pictured)
        if self._online is None:
            summary = store.summary()
            previous = self._store(number - 1, self._weights) if number > 1 else None
            self._report_labels(store, summary, previous)
            if not summary["coverage"]:
                comm.synchronize()  # the page, which the error names, is one process's work
                return self._why_nothing(number, summary)
        self._weights = weights
        self._train_on(number)
        return ""

    def _finish_round(self, number: int) -> None:
        record: dict[str, Any] = {"round": number, "labels": self._weights, "harmful": False}
        now = verdict = None
        if self._probe is not None:
            now = self._snapshot()
            verdict = judge_round(self._start, now, self._limits)
            record.update(harmful=verdict.harmful, reasons=list(verdict.reasons))
            record["evidence"] = verdict.evidence.to_dict()
            logger.info("Round %d against the start: %s", number, verdict.evidence.to_line())
            logger.debug("Round %d by class:\n%s", number, verdict.evidence.to_text())
        self._history.append(record)
        self._write_page(number, record, verdict)
        if record["harmful"]:
            reasons = " ".join(verdict.reasons)
            logger.warning("Round %d harmed and is rolled back. %s", number, reasons)
            self._read_weights(self._round_start(number).name)
            now = None
        self._completed = number
        goes_on = number < self._rounds and not record["harmful"]
        if goes_on and (problem := self._begin_round(number + 1)):
            logger.warning("Round %d: no labels; the rounds end here. %s", number + 1, problem)
            goes_on = False
        if not goes_on:
            self._conclude(now)
        if comm.is_main_process():
            content = {"rounds": self._history, "verdict": self._verdict}
            write_json(self._folder / "rounds.json", content)
        comm.synchronize()

    def _conclude(self, now: Snapshot | None) -> None:
        """Name the outcome, and put the starting weights back where nothing was gained."""
        self._verdict = NOT_JUDGED
        if self._probe is not None:
            accepted = sum(not record["harmful"] for record in self._history)
            now = now or self._snapshot()
            verdict = judge_run(self._start, now, accepted, self._limits)
            self._verdict = verdict.text
            if not verdict.adapted:
                self._read_weights("start.pth")
            self._history[-1]["verdict"] = {"text": verdict.text, "reasons": list(verdict.reasons)}
            logger.info("Verdict: %s. %s", verdict.text, " ".join(verdict.reasons))
        self.trainer.stop()

    def _train_on(self, number: int) -> None:
        """Give the trainer the images of a round, at the place in the stream where it stands."""
        start = max(self.trainer.start_iter, (number - 1) * self._period)
        if self._online is not None:
            loader = self._loader(start, list(self.target.records), weights=None)
            self.trainer.train_on(TaughtLoader(loader, self._online))
            return
        store = self._store(number, self._weights)
        if not self._labeler.is_whole(store):
            self._relabel(number, store)
        weights = balance_weights(store.classes_for_training()) if self._balanced else None
        records = store.records_for_training()
        self.trainer.train_on(self._loader(start, records, weights=weights))

    def _relabel(self, number: int, store: PseudoLabelStore) -> None:
        others = "; ".join(store.refused())
        logger.warning(
            "Pseudo-labels of round %d are not complete; they are made again.%s",
            number,
            others and f" Not taken: {others}.",
        )
        present = changeable_state(self._model)
        path = self._existing(self._round_start(number).name)
        saved = read_checkpoint(str(path))
        self._model.load_state_dict({**saved["model"], **(saved["average"] or {})}, strict=False)
        self._labeler.fill(store, self._model, self._pictured)
        self._model.load_state_dict(present, strict=False)

    # --- parts ---

    def _evaluated(self) -> AbstractContextManager:
        """The model holds the weights that count."""
        return self._average.applied() if self._average is not None else nullcontext()

    def _snapshot(self) -> Snapshot:
        with self._evaluated(), self._labeler.cached(self._model):
            return self._probe(self._model)

    def _store(self, number: int, weights: str) -> PseudoLabelStore:
        return self._labeler.store(self._folder, number, weights)

    def _round_start(self, number: int) -> Path:
        return self._folder / f"round_{number:02d}_start.pth"

    def _existing(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"--resume: expected the file {name} of the interrupted run, got none at {path}. "
                "Put it back, or start anew without --resume."
            )
        return path

    def _tidy(self) -> None:
        """Remove what only an unfinished round needs; a kill may have prevented it before."""
        if not comm.is_main_process():  # others may be here before the checkpoint is written
            return
        for path in self._folder.glob("round_*_start.pth"):
            if self._verdict or path != self._round_start(self._completed + 1):
                path.unlink(missing_ok=True)

    def _write_weights(self, path: Path) -> None:
        content = {
            "model": changeable_state(self._model),
            "average": self._average.state_dict() if self._average is not None else None,
            "optimizer": self.trainer.optimizer.state_dict(),
            "facts": getattr(self._model, "facts", WeightFacts()).beside().get("facts", {}),
        }
        write_atomically(path, lambda file: torch.save(content, file))

    @phase("roll back")
    def _read_weights(self, name: str) -> None:
        content = read_checkpoint(str(self._existing(name)))
        self._model.load_state_dict(content["model"], strict=False)
        if "facts" in content and hasattr(self._model, "facts"):  # older files have none
            self._model.facts = WeightFacts.of(content)
        if self._average is not None:
            self._average.load_state_dict(content["average"])
        self.trainer.optimizer.load_state_dict(content["optimizer"])

    def _why_nothing(self, number: int, summary: dict[str, Any]) -> str:
        thresh, images = str(self._labeler.labeler.thresholds[0]), len(self.target.records)
        page = self._folder / f"round_{number:02d}.html"
        if any(c["images_accepted"] for c in summary["classes"]):
            return (
                "SELF_TRAINING.REFINE: expected masks for the accepted classes, got none in "
                f"{images} images. See {page}, and check MODEL.SAM.CHECKPOINT, lower "
                "REGION_VOTE.PURITY where regions vote, or set REFINE.ENABLED False."
            )
        return (
            "SELF_TRAINING.GATE.THRESH: expected at least one class above "
            f"{thresh} in one image, got none in {images} images. See {page}, and lower "
            "it, set SELF_TRAINING.GATE.QUANTILE, or name classes that are in the images."
        )

    def _report_labels(
        self, store: PseudoLabelStore, summary: dict[str, Any], previous: PseudoLabelStore | None
    ) -> None:
        changed = self._labeler.change_share(previous, store) if previous is not None else None
        if not comm.is_main_process():  # the only one that writes scalars
            return
        if changed is None:  # nothing to compare with, or deleted since
            previous = None
        accepted = [c["name"] for c in summary["classes"] if c["images_accepted"]]
        storage = self.trainer.storage
        storage.put_scalar("self_training/coverage", summary["coverage"])
        storage.put_scalar("self_training/accepted_classes", len(accepted))
        if changed is not None:
            storage.put_scalar("self_training/changed", changed)
        logger.info(
            "Round %d: %.1f %% of the pixels labelled, %d of %d classes accepted%s, %.1f MB in %s. "
            "Never accepted: %s",
            store.round_number,
            100 * summary["coverage"],
            len(accepted),
            len(summary["classes"]),
            "" if changed is None else f", {100 * changed:.1f} % changed since the last round",
            summary["disk_use"] / 1e6,
            store.folder,
            some_of(summary["never_accepted"]) or "none",
        )
        if self._pictured or not summary["coverage"]:  # whose error names the page
            write_round_page(self._folder, store, self._pictured, self.target, previous=previous)

    def _write_page(
        self, number: int, record: dict[str, Any], verdict: RoundVerdict | None
    ) -> None:
        """The page of a round again, now with the answers after it."""
        if self._online is not None or not comm.is_main_process() or not self._pictured:
            return
        with self._evaluated():
            after = self._labeler.predictions(self._model, self._pictured)
        store = self._store(number, record["labels"])
        earlier = [self._store(number - 1, r["labels"]) for r in self._history[-2:-1]]
        previous = next((one for one in earlier if one.is_finished), None)
        write_round_page(
            self._folder,
            store,
            self._pictured,
            self.target,
            previous=previous,
            after=after,
            verdict=verdict,
        )
