"""What a look at something says: good, worth knowing, or wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GOOD, NOTE, WRONG = "good", "note", "wrong"

_SHOWN = {GOOD: "good", NOTE: "note", WRONG: "WRONG"}
_SUBJECT = 16  # letters of the longest subject


@dataclass(frozen=True)
class Observation:
    """One thing that was looked at.

    Attributes:
        status: "good", "note" (nothing need be done) or "wrong".
        subject: what it is about, in a word or two; for scripts, too.
        text: what was found.
        cure: what to do; "" if nothing.
    """

    status: str
    subject: str
    text: str
    cure: str = ""


def observation_text(seen: Observation, *, with_cure: bool = True) -> str:
    """An observation for people: a line in columns, and its cure in the next one."""
    line = f"{_SHOWN[seen.status]:<6}{seen.subject:<{_SUBJECT}}  {seen.text}"
    cure = f"\n{'':<{6 + _SUBJECT}}  -> {seen.cure}" if seen.cure and with_cure else ""
    return line + cure


def observations_text(seen: Sequence[Observation]) -> str:
    """Several in a row; a cure that the next one shares is told once, behind the last."""
    following = [*(other.cure for other in seen), None][1:]
    return "\n".join(
        observation_text(one, with_cure=one.cure != after)
        for one, after in zip(seen, following, strict=False)
    )
