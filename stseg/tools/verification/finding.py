"""What a check says: something is wrong, or worth knowing, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        code: short name for scripts, such as "ids-out-of-range".
        text: what was expected and what was found.
        cure: what to do; "" if nothing.
        files: up to five examples.
        count: how many files are concerned, 0 where it is about the whole data set.
        is_note: True if nothing needs to be done; notes do not count as failures.
    """

    code: str
    text: str
    cure: str = ""
    files: tuple[str, ...] = ()
    count: int = 0
    is_note: bool = False


def about_files(
    code: str, text: str, cure: str, files: Sequence[str], *, is_note: bool = False
) -> list[Finding]:
    """One finding about all of `files`, or none if there are none.

    Args:
        code: see `Finding`.
        text: likewise; "{count}" becomes the number of files.
        cure: see `Finding`.
        files: concerned.
        is_note: see `Finding`.
    """
    if not files:
        return []
    filled = text.replace("{count}", str(len(files)))
    return [Finding(code, filled, cure, tuple(files[:_EXAMPLES]), len(files), is_note)]
