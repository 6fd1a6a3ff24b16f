"""Judging a round, and a whole run, without a single target label.

`judge_round` asks: may this round stay? `judge_run` asks: is the result better than the start?
The two questions need different evidence.

Harm. Every figure compares the present model with the starting one, never with the last round,
so that small steps in the wrong direction add up and are caught. One broken rule is enough:

- the model changes its mind where the start was sure (all classes together, or one class);
- the class histogram moves far (collapse to one class, a class that swallows others);
- a class that had some area is nearly gone (rare classes weigh little in the two above);
- entropy rises, or predictions differ more on mirrored copies of the images
  (shuffled labels: the histogram may stay, certainty does not);
- mIoU on the labelled source set falls, where there is one (forgetting);
- a figure is no longer finite.

Gain. Two signs count, and neither alone is worth much:

- Entropy falls under self-training whatever the labels are, for the loss asks for certainty.
- Stability on mirrored copies rises with labels that fit what is seen, but a model that says one
  class everywhere is perfectly stable. (Paler and softer copies told less: in the small world their
  stability rose as much for a model that had gained nothing.)

So a gain is only looked for in a model that broke no rule of harm: within those limits it cannot
have collapsed. It must have changed enough pixels, or there is nothing to keep; rising stability
then suffices, and falling entropy does only where stability did not fall. Both are measured
against what was left to gain, must exceed the noise over the images (`noise` standard errors),
and where next to nothing was left there is nothing to show: images that are handled perfectly end
with "no gain". That too is the verdict when a model that is confidently and stably wrong stays
so. A better source mIoU is no sign of a better target and is not counted as one.

What this cannot see: a change that is wrong, small, stable and certain at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from stseg.config import check
from stseg.self_training.evidence import Evidence, compare
from stseg.self_training.snapshot import Snapshot
from stseg.utils import phase, some_of

ADAPTED = "adapted"
NO_GAIN = "no gain: kept the starting weights"


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
        max_source_drop: mIoU points (0 to 100) on the source set.
        min_change: pixels with another class than at the start, for "adapted".
        min_gain: gain relative to what was left to gain, for "adapted".
        min_left: entropy, or unstable pixels, at the start below which nothing is left to gain.
        noise: standard errors over the images that a gain must exceed; 0 or more.
    """

    sure_thresh: float = 0.9
    min_sure: float = 0.001
    min_agreement: float = 0.9
    min_class_agreement: float = 0.5
    max_drift: float = 0.3
    min_area: float = 0.005
    min_kept: float = 0.1
    max_entropy_rise: float = 0.05
    max_stability_drop: float = 0.05
    max_source_drop: float = 2.0
    min_change: float = 0.01
    min_gain: float = 0.05
    min_left: float = 0.02
    noise: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check(f"SELF_TRAINING.GUARD.{field.name.upper()}", getattr(self, field.name))


@dataclass(frozen=True)
class RoundVerdict:
    """Whether a round must be undone.

    Attributes:
        harmful: whether any rule is broken.
        reasons: one sentence per broken rule; none where harmless.
        evidence: the figures.
    """

    harmful: bool
    reasons: tuple[str, ...]
    evidence: Evidence


@dataclass(frozen=True)
class RunVerdict:
    """What came of the whole run.

    Attributes:
        text: ADAPTED or NO_GAIN.
        reasons: why, one sentence each; never empty.
        evidence: the figures.
    """

    text: str
    reasons: tuple[str, ...]
    evidence: Evidence

    @property
    def adapted(self) -> bool:
        """Whether the final weights are worth keeping."""
        return self.text == ADAPTED


def judge_round(
    start: Snapshot, now: Snapshot, settings: GuardSettings | None = None
) -> RoundVerdict:
    """Decide whether a round harmed.

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
    return RoundVerdict(bool(reasons), reasons, evidence)


@phase("verdict")
def judge_run(
    start: Snapshot,
    final: Snapshot,
    rounds_accepted: int,
    settings: GuardSettings | None = None,
) -> RunVerdict:
    """Decide whether the final model is better than the starting one.

    Args:
        start: of the model before the first round.
        final: of the model that would be kept, on the same images.
        rounds_accepted: rounds that were not rolled back.
        settings: limits; the defaults of GuardSettings if None.

    Raises:
        ValueError: if the snapshots show other images or classes.
    """
    settings = settings or GuardSettings()
    verdict = judge_round(start, final, settings)
    evidence = verdict.evidence
    if rounds_accepted < 1:
        return RunVerdict(NO_GAIN, ("No round was accepted.", *verdict.reasons), evidence)
    if verdict.harmful:
        return RunVerdict(NO_GAIN, verdict.reasons, evidence)
    if evidence.changed < settings.min_change:
        reason = (
            f"Only {evidence.changed:.2%} of the pixels changed their class "
            f"(at least {settings.min_change:.2%})."
        )
        return RunVerdict(NO_GAIN, (reason,), evidence)
    gained, reasons = _gain(evidence, settings)
    return RunVerdict(ADAPTED if gained else NO_GAIN, reasons, evidence)


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


def _gain(evidence: Evidence, settings: GuardSettings) -> tuple[bool, tuple[str, ...]]:
    """Whether either sign of gain holds, and sentences that tell both."""
    less_entropy, entropy_text = _sign(
        "Entropy",
        evidence.entropy_start,
        evidence.entropy_start - evidence.entropy_now,
        evidence.entropy_error,
        settings,
    )
    more_stable, stability_text = _sign(
        "Instability on mirrored copies",
        1 - evidence.stability_start,
        evidence.stability_now - evidence.stability_start,
        evidence.stability_error,
        settings,
    )
    not_less_stable = evidence.stability_now >= evidence.stability_start
    return more_stable or (less_entropy and not_less_stable), (stability_text, entropy_text)


def _sign(
    name: str, left: float, gain: float, error: float | None, settings: GuardSettings
) -> tuple[bool, str]:
    """Judge one figure that should fall, with `left` at the start, by `gain`."""
    change = f"{name} went from {left:.4f} to {left - gain:.4f}"
    if left < settings.min_left:
        return False, f"{change}: below {settings.min_left:.4f} nothing is left to gain."
    if gain < settings.min_gain * left:
        return False, f"{change}: no fall by {settings.min_gain:.1%}."
    if error is not None and gain <= settings.noise * error:
        return False, f"{change}: within {settings.noise:g} standard errors ({error:.4f} each)."
    return True, f"{change}: a fall by {gain / left:.1%}."
