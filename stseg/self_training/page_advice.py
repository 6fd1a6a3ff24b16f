"""What to do where a round has labelled little or nothing, for the top of its page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Below this share of labelled pixels a page tells what to do.
LITTLE = 0.05


@dataclass(frozen=True)
class Advice:
    """Words, and a table.

    Attributes:
        found: what has happened.
        cures: what to do about it, the likeliest first.
        rows: of text: a threshold, and how much would pass; the first is the head. () for none.
    """

    found: str
    cures: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = ()


def other_thresholds(summary: Mapping[str, float], present: float, of: str) -> str:
    """Which lower thresholds would let how much through, as a sentence; the first three that would.

    Args:
        summary: threshold to share in [0, 1], as in `RoundCounts.summary`.
        present: the threshold that was.
        of: what the shares are of, such as "pixels".
    """
    lower = [f"{t}: {s:.1%}" for t, s in summary.items() if float(t) < present and s > 0]
    if not lower:
        return f"No threshold would let any of the {of} through."
    told = ", ".join(lower[:3])
    return f"Other thresholds would let through, of the {of} and before SAM: {told}."


def advice_on(summary: Mapping[str, Any], cure: str = "") -> Advice | None:
    """Advice on a round with few labels.

    Args:
        summary: of the round, see `RoundCounts.summary`.
        cure: of a labeler without the gate, see `Labeler`.

    Returns:
        None where enough is labelled.
    """
    coverage = summary["coverage"]
    if coverage >= LITTLE:
        return None
    share = f"Only {coverage:.2%} of the pixels" if coverage else "No pixel"
    if cure:
        return Advice(f"{share} got a label.", (f"You may {cure}",))
    rows = [(threshold, f"{share:.1%}") for threshold, share in summary["passing"].items()]
    cures = [
        "Lower SELF_TRAINING.GATE.THRESH; the table says how much other thresholds would let "
        "through, before SAM.",
        "Or set SELF_TRAINING.GATE.QUANTILE: 0.8 lets every class pass in the best fifth of its "
        "images, whatever its scores.",
        "Or name other classes: a name of what is not in the images scores low, and so may a name "
        "that is not how people call it.",
    ]
    if any(row["images_accepted"] for row in summary["classes"]):
        cures.append(
            "Where classes are accepted and yet have few pixels, SAM's masks are at fault: check "
            "MODEL.SAM.CHECKPOINT, lower SELF_TRAINING.REFINE.REGION_VOTE.PURITY where regions "
            "vote, or set SELF_TRAINING.REFINE.ENABLED False."
        )
    return Advice(
        f"{share} got a label.", tuple(cures), (("Threshold", "# Pixels that would pass"), *rows)
    )
