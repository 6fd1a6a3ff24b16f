"""Kinds of rules for values; the rules stand beside the keys, see `stseg.config.table`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        text: for messages, after "expected".
        is_good: the test. NaN passes none.
        cure: a sentence for what to do, "" for none.
    """

    text: str
    is_good: Callable[[Any], bool]
    cure: str = ""


def one_of(names: Sequence[str], cure: str = "") -> Rule:
    """One of some texts."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names, cure)


POSITIVE = Rule("a number above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
FROM_1 = Rule("at least 1", lambda value: value >= 1)
SHARE = Rule("a number in [0, 1]", lambda value: 0 <= value <= 1)
SHARE_BELOW_1 = Rule("a number in [0, 1)", lambda value: 0 <= value < 1)
SHARE_ABOVE_0 = Rule("a number in (0, 1]", lambda value: 0 < value <= 1)
PERCENT = Rule("a number in [0, 100]", lambda value: 0 <= value <= 100)


def _is_size(value: Any) -> bool:
    return len(value) == 2 and all(side == int(side) and side >= 1 for side in value)


SIZE = Rule("[height, width] in whole pixels", _is_size)
