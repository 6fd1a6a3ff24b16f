"""Kinds of rules for values; the rules stand beside the keys, see `stseg.config.table`."""

from __future__ import annotations

import math
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


def each(rule: Rule, text: str, count: int = 0, more: Callable[[Any], bool] = bool) -> Rule:
    """A list whose entries all keep a rule.

    Args:
        rule: of an entry.
        text: for messages.
        count: of the entries, 0 for any.
        more: what the list must be besides; not empty by default.
    """

    def is_good(values: Any) -> bool:
        fits = not count or len(values) == count
        return fits and all(map(rule.is_good, values)) and bool(more(values))

    return Rule(text, is_good)


POSITIVE = Rule("a number above 0", lambda value: 0 < value < math.inf)
FINITE = Rule("a finite number", lambda value: -math.inf < value < math.inf)
NOT_NEGATIVE = Rule("0 or more", lambda value: 0 <= value < math.inf)
FROM_1 = Rule("at least 1", lambda value: 1 <= value < math.inf)
WHOLE = Rule("a whole number from 0", lambda value: value == int(value) >= 0)
WHOLE_FROM_1 = Rule("a whole number from 1", lambda value: value == int(value) >= 1)
SHARE = Rule("a number in [0, 1]", lambda value: 0 <= value <= 1)
SHARE_BELOW_1 = Rule("a number in [0, 1)", lambda value: 0 <= value < 1)
SHARE_ABOVE_0 = Rule("a number in (0, 1]", lambda value: 0 < value <= 1)
PERCENT = Rule("a number in [0, 100]", lambda value: 0 <= value <= 100)


def _is_size(value: Any) -> bool:
    return len(value) == 2 and all(side == int(side) and side >= 1 for side in value)


SIZE = Rule("[height, width] in whole pixels", _is_size)
