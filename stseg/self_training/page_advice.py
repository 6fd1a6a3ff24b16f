"""What to do where a round has labelled little or nothing, for the top of its page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stseg.self_training.store_records import ImageRecord, passing

#: Below this share of labelled pixels a page tells what to do.
LITTLE = 0.05
_THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class Advice:
    """Words, and a table.

    Attributes:
        found: what has happened.
        cures: what to do about it, the likeliest first.
        rows: of text: a threshold, and how much would pass; the first is the head.
    """

    found: str
    cures: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]


def advice_on(summary: Mapping[str, Any], records: Iterable[ImageRecord]) -> Advice | None:
    """Advice on a round with few labels.

    Args:
        summary: of the round, see `summarise`.
        records: of all its images; read only where there is something to advise.

    Returns:
        None where enough is labelled.
    """
    coverage = summary["coverage"]
    if coverage >= LITTLE:
        return None
    shares = passing(records, _THRESHOLDS)
    rows = [(f"{threshold:g}", f"{share:.1%}") for threshold, share in shares.items()]
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
    share = f"Only {coverage:.2%} of the pixels" if coverage else "No pixel"
    return Advice(
        f"{share} got a label.", tuple(cures), (("Threshold", "# Pixels that would pass"), *rows)
    )
