"""The guard at work in a run: what it sees is kept in files, and what it says goes into the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from detectron2.utils import comm

from stseg.self_training.guard import GuardSettings, RoundVerdict, best_round, judge_round
from stseg.self_training.round_weights import RoundWeights, existing
from stseg.self_training.snapshot import Snapshot
from stseg.self_training.store import PseudoLabelStore
from stseg.utils import some_of

logger = logging.getLogger(__name__)


class RoundJudge:
    """Holds every round against the start; all ranks."""

    def __init__(
        self, files: RoundWeights, look: Callable[[bool], Snapshot], limits: GuardSettings | None
    ) -> None:
        """Keep the parts.

        Args:
            files: of the run, with the weights of the start.
            look: takes a snapshot of the weights that count, with True of those in the model.
            limits: of the guard; None takes the usual ones.
        """
        self._files, self._look, self._limits = files, look, limits
        self._start: Snapshot | None = None

    def begin(self) -> None:
        """Look at the start."""
        self._start = self._taken("start", self._look(False))

    def resume(self) -> None:
        """Read what an interrupted run saw at its start.

        Raises:
            FileNotFoundError: if the file is gone.
        """
        self._start = Snapshot.load(existing(self._files.folder / "start.npz"))

    def judge(
        self, number: int, store: PseudoLabelStore | None
    ) -> tuple[RoundVerdict, dict[str, Any]]:
        """Judge the model as it is after a round.

        Args:
            number: of the round.
            store: the labels it was trained on; None in the online mode.

        Returns:
            The verdict, and what the run's record keeps of it.
        """
        now = self._taken(f"round_{number:02d}", self._look(False))
        self._start = self._start_of(now)
        verdict = judge_round(self._start, now, self._limits)
        logger.info("Round %d against the start: %s", number, verdict.evidence.to_line())
        logger.debug("Round %d by class:\n%s", number, verdict.evidence.to_text())
        shrank = _shrank_unlabelled(verdict, store) if store is not None else []
        if shrank:
            logger.warning(
                "Round %d: no label had %s, of which less than half of the area is left. Lower "
                "SELF_TRAINING.GATE.THRESH or set GATE.QUANTILE to give them a voice.",
                number,
                some_of(shrank),
            )
        return verdict, {**verdict.to_dict(), "shrank_unlabelled": shrank}

    def best(self, records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """See `best_round`."""
        return best_round(records, self._limits)

    def _taken(self, name: str, snapshot: Snapshot) -> Snapshot:
        """Keep a snapshot in a file; its dense features for the start alone."""
        if name != "start":
            snapshot = replace(snapshot, features=None)
        if comm.is_main_process():
            snapshot.save(self._files.folder / f"{name}.npz")
        return snapshot

    def _start_of(self, now: Snapshot) -> Snapshot:
        """What the start said of the images that are judged now.

        A veto given on the way may have taken some out; only where others came it is asked again.
        """
        start = self._start
        if start is not None and now.classes == start.classes:
            if set(now.images) <= set(start.images):
                return start.only(now.images)
        logger.warning("Guard: other images than at the start are judged; the start is asked anew.")
        with self._files.held(self._files.after(0)):
            return self._taken("start", self._look(True))


def _shrank_unlabelled(verdict: RoundVerdict, store: PseudoLabelStore) -> list[str]:
    """Classes that no label had and that lost half of their area: perhaps trained away."""
    never = store.summary()["never_accepted"]
    return [
        row.name
        for row in verdict.evidence.classes
        if row.name in never and row.area_start > 1e-3 and row.area_now < row.area_start / 2
    ]
