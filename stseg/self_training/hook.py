"""Rounds of self-training inside a trainer (paper, section 2.3): label, train, judge, repeat.

All of it lives beside the model: a checkpoint holds no part of it but the hook's small state, and
evaluation knows nothing of it. Files of a run, with a config below OUTPUT_DIR/self_training:

    start.pth, start.npz         the starting weights, and what they said about the guard's images
    round_01.npz                 the same after a round
    round_01_start.pth           where to go back to while a round may still be undone, or while the
                                 round before is the best one
    round_01-<key>/              pseudo-labels, see `stseg.self_training.store`
    round_01.html, .png          the page to look at
    templates.json               what `SELF_TRAINING.TEMPLATES` has chosen
    seen.json                    which classes stage 1 had, as what, and their weights in eq. 6
    rounds.json                  what every round brought, and the verdict

A round that harms is tried once more from where it began, on the same labels, at a third of the
rate; if it harms again the rounds end. What is kept in the end is the best round that did not harm,
or the start, see `stseg.self_training.guard`.

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

from stseg.checkpoint import write_json
from stseg.config import check
from stseg.data import balance_weights, spread
from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.self_training.guard import ADAPTED, GuardSettings, RoundVerdict, judge_run
from stseg.self_training.online_teacher import OnlineTeacher, TaughtLoader
from stseg.self_training.round_judge import RoundJudge
from stseg.self_training.round_page import write_round_page
from stseg.self_training.round_report import tell_labels, why_no_labels, why_nothing_passes
from stseg.self_training.round_weights import RoundWeights
from stseg.self_training.snapshot import Snapshot
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.survey import Survey

logger = logging.getLogger(__name__)

#: Part of the learning rate at which a round that harmed is tried again.
RETRY_RATE = 1 / 3
#: Images that tell whether the gate lets anything pass, where no more are needed.
_SURVEYED = 64
NOT_JUDGED = "not judged: SELF_TRAINING.GUARD.ENABLED is off"


class RoundTrainer(Protocol):
    """What rounds ask of a trainer of Detectron2; `TrainsInRounds` gives it to any."""

    optimizer: torch.optim.Optimizer

    def train_on(self, loader: Iterable) -> None:
        """Go on with another loader, from the next iteration on; no random number is drawn."""

    def stop(self) -> None:
        """Leave out the iterations that remain; what comes after training is done as usual."""

    def scale_rate(self, factor: float) -> None:
        """Learn at this part of the usual rates from now on, until told otherwise."""

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
        self._balanced = balanced
        self.target, self._folder = labeler.target, Path(folder)
        self._files = RoundWeights(self._folder, model, average)
        self._pictured = spread(pictures, len(self.target.records))
        self._choose = choose
        self._judge = None
        if probe is not None:
            self._judge = RoundJudge(self._files, self._look_by(probe), limits)
        self._online = OnlineTeacher(labeler, model, self._evaluated) if online else None
        self._tried, self._round, self._rate, self._verdict = 0, 1, 1.0, ""  # tried: rounds trained
        self._weights = ""  # digest of those that made the labels of the present round
        self._best = 0  # number of the best round so far, 0: none is better than the start
        self._history: list[dict[str, Any]] = []
        self._taught: Survey | None = None  # of the online mode in this round

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
        if self._judge is not None:
            self._judge.resume()
        if self._verdict:
            self.trainer.stop()
        else:
            self._train_on()

    def after_step(self) -> None:
        """End a round: judge it, undo it if it harmed, and label for the next one."""
        done = self.trainer.iter + 1
        if self._verdict or done % self._period or self._tried >= done // self._period:
            return
        self._finish_round()
        self.trainer.save_checkpoint(is_final=bool(self._verdict))
        self._tidy()

    def state_dict(self) -> dict[str, Any]:
        """Where the rounds stand; plain values."""
        return {
            "tried": self._tried,
            "round": self._round,
            "rate": self._rate,
            "weights": self._weights,
            "best": self._best,
            "verdict": self._verdict,
            "history": self._history,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            ValueError: for the state of an earlier version, whose rounds went by other rules.
        """
        if "tried" not in state_dict:
            raise ValueError(
                "Rounds: expected a checkpoint of this version to go on from, got one of a version "
                "whose rounds had one schedule for all. Start anew without --resume."
            )
        self._tried, self._round = state_dict["tried"], state_dict["round"]
        self._rate, self._weights = state_dict["rate"], state_dict["weights"]
        self._best, self._verdict = state_dict["best"], state_dict["verdict"]
        self._history = list(state_dict["history"])

    @property
    def expected_iters(self) -> int:
        """Iterations of all rounds, if those to come harm not."""
        if self._verdict:
            return self.trainer.max_iter
        return (self._tried + self._rounds - self._round + 1) * self._period

    # --- rounds ---

    def _begin(self) -> None:
        self._files.write(self._files.after(0), self.trainer.optimizer)
        if self._judge is not None:
            self._judge.begin()
        comm.synchronize()
        if self._choose is not None:
            with self._evaluated(), self._labeler.cached(self._model):
                self._choose(self._model)
        if problem := self._begin_round():
            raise ValueError(problem)

    def _begin_round(self) -> str:
        """Label with the present weights and train on that; returns why nothing was labelled."""
        number = self._round
        self._files.write(self._files.before(number), self.trainer.optimizer)
        with self._evaluated():
            weights = comm.all_gather(self._labeler.digest(self._model))[0]
            if self._online is None:
                store = self._store(number, weights)
                self._labeler.fill(store, self._model, self._pictured)
        threshold, cure = self._labeler.threshold, self._labeler.labeler.cure
        if self._online is None:
            previous = self._store(number - 1, self._weights) if number > 1 else None
            self._report_labels(store, previous)
            if not store.summary()["coverage"]:
                comm.synchronize()  # the page, which the error names, is one process's work
                page = self._folder / f"round_{number:02d}.html"
                return why_no_labels(store.summary(), threshold, page, cure)
        else:
            survey = self._teach()
            if not self._taught.scores.size:
                return why_nothing_passes(survey, threshold, len(self.target.records))
        self._weights = weights
        self._train_on()
        return ""

    def _finish_round(self) -> None:
        number, rate = self._round, self._rate
        record: dict[str, Any] = {
            "round": number,
            "rate": rate,
            "labels": self._weights,
            "harmful": False,
        }
        verdict = None
        if self._judge is not None:
            store = self._store(number, self._weights) if self._online is None else None
            verdict, found = self._judge.judge(number, store)
            record |= found
        self._history.append(record)
        self._tried += 1
        self._write_page(number, record, verdict)
        if record["harmful"]:
            goes_on = self._undo(number, record)
        else:
            self._best = self._judge.best(self._history)["round"] if self._judge else number
            goes_on = self._next_round()
        if not goes_on:
            self._conclude()
        if comm.is_main_process():
            content = {"rounds": self._history, "kept": self._best, "verdict": self._verdict}
            write_json(self._folder / "rounds.json", content)
        comm.synchronize()

    def _undo(self, number: int, record: dict[str, Any]) -> bool:
        """Go back to where a round began; returns whether it is tried once more."""
        again = record["rate"] == 1 and self._has_room()
        logger.warning(
            "Round %d harmed and is rolled back%s. %s",
            number,
            "; it is tried once more at a third of the rate" if again else "",
            " ".join(record["reasons"]),
        )
        self._files.read(self._files.before(number), self.trainer.optimizer)
        if again:
            self._set_rate(RETRY_RATE)
            self._train_on()
        return again

    def _next_round(self) -> bool:
        """Label for the next round, if there is one."""
        if self._round >= self._rounds or not self._has_room():
            self._files.write(self._files.after(self._round), self.trainer.optimizer)
            comm.synchronize()
            return False
        self._round += 1
        self._set_rate(1.0)
        if problem := self._begin_round():
            logger.warning("Round %d: no labels; the rounds end here. %s", self._round, problem)
        return not problem

    def _has_room(self) -> bool:
        """Whether the trainer has iterations for one more round."""
        return (self._tried + 1) * self._period <= self.trainer.max_iter

    def _set_rate(self, factor: float) -> None:
        self._rate = factor
        self.trainer.scale_rate(factor)

    def _conclude(self) -> None:
        """Name the outcome, and put the weights back that it names."""
        self._verdict = NOT_JUDGED
        if self._judge is not None:
            self._verdict, reasons = judge_run(self._judge.best(self._history))
            if self._verdict != ADAPTED:
                self._best = 0
            self._files.read(self._files.after(self._best), self.trainer.optimizer)
            self._history[-1]["verdict"] = {"text": self._verdict, "reasons": list(reasons)}
            logger.info("Verdict: %s. %s", self._verdict, " ".join(reasons))
        self.trainer.stop()

    def _train_on(self) -> None:
        """Give the trainer the images of a round, at the place in the stream where it stands."""
        start = max(self.trainer.start_iter, self._tried * self._period)
        if self._online is not None:
            if self._taught is None:
                self._teach()
            records, weights = list(self.target.records), None
            if self._balanced:
                weights = balance_weights(self._taught.classes_of(len(records)))
            loader = self._loader(start, records, weights=weights)
            self.trainer.train_on(TaughtLoader(loader, self._online))
            return
        store = self._store(self._round, self._weights)
        if not self._labeler.is_whole(store):
            self._relabel(store)
        weights = balance_weights(store.classes_for_training()) if self._balanced else None
        records = store.records_for_training()
        self.trainer.train_on(self._loader(start, records, weights=weights))

    def _teach(self) -> Survey:
        """What the weights of the round's start are sure of; the teacher gets what follows from it.

        All images are looked at where a quantile or a balance asks for them, else some.
        """
        count = len(self.target.records)
        needs_all = self._labeler.needs_survey or self._balanced
        chosen = range(count) if needs_all else spread(_SURVEYED, count)
        with self._files.held(self._files.before(self._round)):
            survey = self._labeler.survey(self._model, chosen)
        if self._labeler.needs_survey:
            self._online.thresholds = self._labeler.thresholds_of(survey)
        self._taught = self._labeler.accepted(survey)
        return survey

    def _relabel(self, store: PseudoLabelStore) -> None:
        others = "; ".join(store.refused())
        logger.warning(
            "Pseudo-labels of round %d are not complete; they are made again.%s",
            store.round_number,
            others and f" Not taken: {others}.",
        )
        with self._files.held(self._files.before(store.round_number)):
            self._labeler.fill(store, self._model, self._pictured)

    # --- parts ---

    def _tidy(self) -> None:
        """Remove what only an unfinished round needs; a kill may have prevented it before."""
        needed = self._files.before(self._round), self._files.after(self._best)
        self._files.keep_only(() if self._verdict else needed)

    def _evaluated(self) -> AbstractContextManager:
        """The model holds the weights that count."""
        return self._average.applied() if self._average is not None else nullcontext()

    def _look_by(self, probe: Callable[[nn.Module], Snapshot]) -> Callable[[bool], Snapshot]:
        """Takes a snapshot of the weights that count, or of those that the model holds."""

        def look(as_it_is: bool = False) -> Snapshot:
            weights = nullcontext() if as_it_is else self._evaluated()
            with weights, self._labeler.cached(self._model):
                return probe(self._model)

        return look

    def _store(self, number: int, weights: str) -> PseudoLabelStore:
        return self._labeler.store(self._folder, number, weights)

    def _report_labels(self, store: PseudoLabelStore, previous: PseudoLabelStore | None) -> None:
        changed = self._labeler.change_share(previous, store) if previous is not None else None
        if not comm.is_main_process():  # the only one that writes
            return
        cure = self._labeler.labeler.cure
        tell_labels(store, self._labeler.threshold, changed, self.trainer.storage, cure)
        if self._pictured or not store.summary()["coverage"]:  # whose error names the page
            # Without a share there is nothing to compare with, or it was deleted since.
            previous = None if changed is None else previous
            write_round_page(
                self._folder, store, self._pictured, self.target, previous=previous, cure=cure
            )

    def _write_page(
        self, number: int, record: dict[str, Any], verdict: RoundVerdict | None
    ) -> None:
        """The page of a round again, now with the answers after it."""
        if self._online is not None or not self._pictured:
            return
        before = [r for r in self._history if r["round"] == number - 1 and not r["harmful"]]
        earlier = [self._store(number - 1, r["labels"]) for r in before]
        previous = next((one for one in earlier if self._labeler.is_whole(one)), None)
        if not comm.is_main_process():
            return
        with self._evaluated():
            after = self._labeler.predictions(self._model, self._pictured)
        store = self._store(number, record["labels"])
        write_round_page(
            self._folder,
            store,
            self._pictured,
            self.target,
            previous=previous,
            after=after,
            verdict=verdict,
            cure=self._labeler.labeler.cure,
        )
