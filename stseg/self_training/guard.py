"""Judging a round, and a whole run, without a single target label.

Every figure compares the present model with the starting one, never with the last round, so that
small steps in the wrong direction add up and are caught. Two questions are asked of a round.

Did it harm? One broken rule is enough:

- the labels explain the start's dense features less than before (labels that slip, are mixed up or
  swallow others; see `stseg.self_training.witness`);
- the model changes its mind where the start was sure (all classes together, or one class);
- the class histogram moves far (collapse to one class, a class that swallows others);
- a class that had some area is nearly gone (rare classes weigh little in the others);
- entropy rises, or predictions differ more on mirrored copies of the images;
- mIoU on the labelled source set falls, where there is one (forgetting);
- a figure is no longer finite.

How good is it? Its score is the relative change of two figures together: how much of the features'
variance the labels explain, and how much a pixel knows of its class (mutual information). Each of
them alone is worth less: self-training makes any model surer, whatever it learns, but not its
labels truer to what is seen; and labels may fit as before while the model loses sight of classes.
Where a model shows no features, steadiness on mirrored copies stands in for them.

What is kept in the end is the last round that did not harm, or an earlier one whose score is higher
by more than the noise, if enough pixels changed and the score is not too low. In between the
verdict is "undecided", and the starting weights are kept. A better source mIoU is no sign of a
better target and is not counted as one.

What the limits were chosen by, and how often they err: benchmarks/guard.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from stseg.config import check
from stseg.self_training.evidence import Evidence, compare
from stseg.self_training.snapshot import Snapshot
from stseg.utils import phase, some_of

ADAPTED = "adapted"
NO_GAIN = "no gain: kept the starting weights"
UNDECIDED = "undecided: kept the starting weights"
#: Standard errors over the images that a loss of what labels explain must exceed.
_ERRORS = 2.0
#: Where less was explained, or known, at the start a change is taken as a part of this.
_LITTLE = 0.1


@dataclass(frozen=True)
class GuardSettings:
    """Limits of harm and of gain. All are shares in [0, 1] unless told otherwise.

    Attributes:
        sure_thresh: confidence from which the start counts as sure of a pixel.
        min_sure: sure pixels, as a share of all, below which agreement is not judged.
        min_agreement: sure pixels that must keep their class.
        min_class_agreement: the same for every single class with `min_area` sure pixels.
        max_drift: total variation of the class histogram.
        min_area: area of a class at the start from which it must not vanish.
        min_kept: part of that area it must keep.
        max_entropy_rise: of the mean normalised entropy.
        max_stability_drop: of the pixels that keep their class on mirrored copies.
        max_explained_drop: of what labels explain of the start's features, relative to the start.
        max_source_drop: mIoU points (0 to 100) on the source set.
        min_change: pixels with another class than at the start, for "adapted".
        min_score: for "adapted", a number; below it a round that did not harm is undecided.
        noise: differences of the score that say nothing, 0 or more; see `best_round`.
    """

    sure_thresh: float = 0.9
    min_sure: float = 0.001
    min_agreement: float = 0.8
    min_class_agreement: float = 0.3
    max_drift: float = 0.3
    min_area: float = 0.005
    min_kept: float = 0.25
    max_entropy_rise: float = 0.05
    max_stability_drop: float = 0.05
    max_explained_drop: float = 0.06
    max_source_drop: float = 2.0
    min_change: float = 0.01
    min_score: float = -0.03
    noise: float = 0.04

    def __post_init__(self) -> None:
        for field in fields(self):
            check(f"SELF_TRAINING.GUARD.{field.name.upper()}", getattr(self, field.name))


@dataclass(frozen=True)
class RoundVerdict:
    """What the guard says of a round.

    Attributes:
        harmful: whether any rule is broken, so that the round must be undone.
        reasons: one sentence per broken rule; none where harmless.
        outcome: ADAPTED, UNDECIDED or NO_GAIN, if the run ended with this round.
        signs: why, one sentence each; never empty.
        score: by which rounds are compared; larger is better.
        evidence: the figures.
    """

    harmful: bool
    reasons: tuple[str, ...]
    outcome: str
    signs: tuple[str, ...]
    score: float
    evidence: Evidence

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for strict JSON."""
        return {
            "harmful": self.harmful,
            "reasons": list(self.reasons),
            "outcome": self.outcome,
            "signs": list(self.signs),
            "score": self.score if math.isfinite(self.score) else None,
            "evidence": self.evidence.to_dict(),
        }


@phase("judge")
def judge_round(
    start: Snapshot, now: Snapshot, settings: GuardSettings | None = None
) -> RoundVerdict:
    """Decide whether a round harmed, and whether its weights are better than the start's.

    Args:
        start: of the model before the first round.
        now: of the model after this round, on the same images.
        settings: limits; the defaults of GuardSettings if None.

    Raises:
        ValueError: if the snapshots show other images or classes.
    """
    settings = settings or GuardSettings()
    evidence = compare(start, now, settings.sure_thresh)
    reasons = (*_change_of_mind(evidence, settings), *_loss_of_certainty(evidence, settings))
    score = _score(evidence)
    if reasons:
        return RoundVerdict(True, reasons, NO_GAIN, reasons, score, evidence)
    outcome, signs = _outcome(evidence, score, settings)
    return RoundVerdict(False, (), outcome, signs, score, evidence)


def best_round(
    records: Sequence[Mapping[str, Any]], settings: GuardSettings | None = None
) -> Mapping[str, Any] | None:
    """Which of several rounds to keep: a later one, unless its score is lower beyond the noise.

    Args:
        records: `RoundVerdict.to_dict` of each, in their order; those that harmed do not count.
        settings: the defaults of GuardSettings if None.

    Returns:
        None where all harmed.
    """
    noise = (settings or GuardSettings()).noise
    best, top = None, -math.inf
    for record in (record for record in records if not record["harmful"]):
        top = max(top, record["score"])
        is_no_worse = record["outcome"] == ADAPTED or best is None or best["outcome"] != ADAPTED
        if record["score"] >= top - noise and is_no_worse:
            best = record
    return best


@phase("verdict")
def judge_run(best: Mapping[str, Any] | None) -> tuple[str, tuple[str, ...]]:
    """The verdict on a whole run, and why.

    Args:
        best: of `best_round`.
    """
    if best is None:
        return NO_GAIN, ("No round was accepted.",)
    return best["outcome"], tuple(best["signs"])


def _outcome(
    evidence: Evidence, score: float, settings: GuardSettings
) -> tuple[str, tuple[str, ...]]:
    if evidence.changed < settings.min_change:
        reason = (
            f"Only {evidence.changed:.2%} of the pixels changed their class "
            f"(at least {settings.min_change:.2%})."
        )
        return NO_GAIN, (reason,)
    parts = [f"Information of pixels on classes changed by {_information_gain(evidence):+.1%}"]
    what = "steadiness on mirrored copies"
    if evidence.explained_start is not None:
        what = "what labels explain of the start's features"
    parts.append(f"{what} by {_fit_gain(evidence):+.1%}")
    text = " and ".join(parts) + f": together {score:+.3f}"
    if score < settings.min_score:
        return UNDECIDED, (f"{text}, less than {settings.min_score:+.3f}.",)
    return ADAPTED, (f"{text} (at least {settings.min_score:+.3f}).",)


def _score(evidence: Evidence) -> float:
    return _information_gain(evidence) + _fit_gain(evidence)


def _information_gain(evidence: Evidence) -> float:
    return _relative(evidence.information_start, evidence.information_now)


def _fit_gain(evidence: Evidence) -> float:
    if evidence.explained_start is not None and evidence.explained_now is not None:
        return _relative(evidence.explained_start, max(evidence.explained_now, 0.0))
    return _relative(evidence.class_stability_start, evidence.class_stability_now)


def _explains_less(evidence: Evidence, most: float) -> bool:
    """By more than allowed, and by more than what images differ in by chance."""
    start, now, error = evidence.explained_start, evidence.explained_now, evidence.explained_error
    if start is None or now is None or error is None:
        return False
    return -_fit_gain(evidence) > most and start - now > _ERRORS * error


def _relative(start: float, now: float) -> float:
    """Change in shares of the start; where that was little, it counts less."""
    return (now - start) / max(start, _LITTLE)


def _change_of_mind(evidence: Evidence, settings: GuardSettings) -> list[str]:
    reasons = []
    if evidence.agreement is not None and evidence.sure >= settings.min_sure:
        if evidence.agreement < settings.min_agreement:
            reasons.append(
                f"{evidence.agreement:.1%} of the pixels the start was sure of keep their class "
                f"(at least {settings.min_agreement:.1%})."
            )
    deserted = [
        repr(row.name)
        for row in evidence.classes
        if row.kept_sure is not None
        and row.sure_start >= settings.min_area
        and row.kept_sure < settings.min_class_agreement
    ]
    if deserted:
        reasons.append(
            f"Less than {settings.min_class_agreement:.0%} of the sure pixels are kept of "
            f"{some_of(deserted)}."
        )
    if evidence.drift > settings.max_drift:
        reasons.append(
            f"The class histogram moved by {evidence.drift:.1%} (at most {settings.max_drift:.1%})."
        )
    vanished = [
        repr(row.name)
        for row in evidence.classes
        if row.area_start >= settings.min_area and row.area_now < settings.min_kept * row.area_start
    ]
    if vanished:
        reasons.append(f"Less than {settings.min_kept:.0%} is left of {some_of(vanished)}.")
    return reasons


def _loss_of_certainty(evidence: Evidence, settings: GuardSettings) -> list[str]:
    if not evidence.finite:
        return ["Expected finite figures, got NaN or infinity."]
    reasons = []
    if _explains_less(evidence, settings.max_explained_drop):
        reasons.append(
            f"Labels explain {evidence.explained_now:.1%} of the start's features, after "
            f"{evidence.explained_start:.1%} (at most {settings.max_explained_drop:.1%} less)."
        )
    if evidence.entropy_now - evidence.entropy_start > settings.max_entropy_rise:
        reasons.append(
            f"Entropy rose from {evidence.entropy_start:.3f} to {evidence.entropy_now:.3f} "
            f"(at most by {settings.max_entropy_rise:.3f})."
        )
    if evidence.stability_start - evidence.stability_now > settings.max_stability_drop:
        reasons.append(
            f"Stability on mirrored copies fell from {evidence.stability_start:.1%} to "
            f"{evidence.stability_now:.1%} (at most by {settings.max_stability_drop:.1%})."
        )
    if evidence.source_miou_start is not None and evidence.source_miou_now is not None:
        if evidence.source_miou_start - evidence.source_miou_now > settings.max_source_drop:
            reasons.append(
                f"Source mIoU fell from {evidence.source_miou_start:.2f} to "
                f"{evidence.source_miou_now:.2f} (at most by {settings.max_source_drop:.2f})."
            )
    return reasons
