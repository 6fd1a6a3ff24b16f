"""What can be said of a list of names without a model: faults of the list, and unlucky words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from stseg.structures import Vocabulary, separator_in, written_entries
from stseg.tools import NOTE, WRONG, Observation
from stseg.tools.vocabulary.glued_words import unglued
from stseg.tools.vocabulary.name_forms import (
    has_unseen,
    leading_article,
    plain_form,
    singular_form,
)
from stseg.utils import some_of

#: So many names of the only class, or so large a share of all names in one, look like classes.
_MANY, _MOST = 3, 0.8


@dataclass(frozen=True)
class WrittenClass:
    """A class as it stands in a list.

    Attributes:
        position: counted from 1.
        names: as they are written, blanks at the ends off; "" where one is empty.
    """

    position: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"class {self.position} ({self.names[0]!r})"


def lint(source: str | PathLike[str]) -> list[Observation]:
    """Look for faults in a list of names.

    Args:
        source: text, path or "vocab:<list>", as `Vocabulary.parse` takes it.

    Returns:
        What is wrong, where the list cannot be used or two classes are one, then notes.

    Raises:
        ValueError: if a file is not text, or no JSON, or holds no list of classes.
        FileNotFoundError: if there is no such file or list.
    """
    entries, may_share = written_entries(source)
    faults, classes = _as_classes(entries)
    found = [*faults, *_repeated(classes, may_share), *_within_classes(classes)]
    found += [*_shared(classes), *_plurals(classes), *_like_classes(classes)]
    for written in classes:
        for name in filter(None, written.names):
            found += _of_name(name, written, len(classes) == 1)
    if not any(one.status == WRONG for one in found):
        found += _refusal(source)
    return sorted(found, key=lambda one: one.status != WRONG)  # stable


def _as_classes(entries: Sequence[Any]) -> tuple[list[Observation], list[WrittenClass]]:
    faults, classes = [], []
    if not entries:
        cure = 'Give names such as "cat; dog".'
        faults.append(Observation(WRONG, "empty", "expected at least one class, got none", cure))
    for position, entry in enumerate(entries, start=1):
        parts = entry.split(",") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            text = f"class {position}: expected a name or a list of names, got {entry!r}"
            faults.append(Observation(WRONG, "no text", text, 'Write it as text, such as "7".'))
            continue
        names = tuple(" ".join(part.split()) for part in parts)
        if not names or not all(plain_form(name) for name in names):
            faults.append(
                Observation(
                    WRONG,
                    "empty",
                    f"class {position} ({entry!r}) has an empty name",
                    "Remove the spare comma, semicolon or entry: it would shift later classes.",
                )
            )
        if any(names):
            classes.append(WrittenClass(position, tuple(name for name in names if name)))
    return faults, classes


def _repeated(classes: Sequence[WrittenClass], may_share: bool) -> Iterator[Observation]:
    """Classes with one display name."""
    groups = _grouped((_without_article(written.names[0]), written) for written in classes)
    for key, group in groups.items():
        if len(group) < 2 or not key:
            continue
        same = len({written.names[0].casefold() for written in group}) == 1
        allowed = same and may_share
        yield Observation(
            NOTE if allowed else WRONG,
            "duplicate",
            f"{' and '.join(map(str, group))} have one name"
            + ("" if same else ", but for case, blanks, hyphens, articles or hidden characters"),
            "They compete for the same pixels: merge them, or name each by what sets it apart.",
        )


def _without_article(name: str) -> str:
    plain = plain_form(name)
    return plain.removeprefix(f"{leading_article(plain)} ")


def _within_classes(classes: Sequence[WrittenClass]) -> Iterator[Observation]:
    """Names that one class has twice."""
    for written in classes:
        for group in _grouped((plain_form(name), name) for name in written.names).values():
            if len(group) < 2:
                continue
            exact = len({name.casefold() for name in group}) < len(group)
            yield Observation(
                WRONG if exact else NOTE,
                "duplicate",
                f"{written} has {' and '.join(map(repr, group))}",
                "Keep one of them." if exact else "Both spellings are asked for; one is enough.",
            )


def _shared(classes: Sequence[WrittenClass]) -> Iterator[Observation]:
    """Names that stand in several classes and are not the display name of all."""
    groups = _grouped(
        (key, written) for written in classes for key in {plain_form(n) for n in written.names}
    )
    for key, group in groups.items():
        firsts = {plain_form(written.names[0]) for written in group}
        if key and len(group) > 1 and firsts != {key}:
            yield Observation(
                NOTE,
                "shared",
                f"{key!r} stands in {' and '.join(map(str, group))}",
                "What looks like it goes to either: leave it to one of them.",
            )


def _plurals(classes: Sequence[WrittenClass]) -> Iterator[Observation]:
    """Classes whose display names differ in number alone."""
    groups = _grouped((singular_form(written.names[0]), written) for written in classes)
    for group in groups.values():
        if len({plain_form(written.names[0]) for written in group}) > 1:
            yield Observation(
                NOTE,
                "plural",
                f"{' and '.join(map(str, group))} differ in number alone",
                "A model hardly tells one from several: merge them if no meaning is lost.",
            )


def _like_classes(classes: Sequence[WrittenClass]) -> Iterator[Observation]:
    """One class that holds most names: commas where semicolons were meant, probably."""
    names = sum(len(written.names) for written in classes)
    for written in classes:
        few = len(classes) == 1 < len(written.names)
        if few or _MANY <= len(written.names) >= _MOST * names:
            yield Observation(
                NOTE,
                "one class",
                f"{some_of(written.names)} are synonyms of ONE class, {written}",
                "Commas part synonyms; part classes with semicolons or new lines.",
            )


def _of_name(name: str, written: WrittenClass, is_alone: bool) -> Iterator[Observation]:
    """Unlucky spellings of a single name."""
    where = f"{name!r}" + ("" if name == written.names[0] else f" of {written}")
    separator, article, apart = separator_in(name, is_alone), leading_article(name), unglued(name)
    if separator:
        yield Observation(
            NOTE, "separator", f"{where} holds {separator!r}, which parts nothing here",
            "Commas part synonyms, semicolons part classes; a model reads all else as it is.",
        )  # fmt: skip
    if "_" in name:
        cure = "Write blanks in place of underscores."
        yield Observation(NOTE, "separator", f"{where} has underscores", cure)
    if name.endswith("."):
        yield Observation(NOTE, "separator", f"{where} ends with a full stop", "Take it off.")
    if has_unseen(name):
        text = f"{where} has characters that nobody sees: {ascii(name)}"
        yield Observation(NOTE, "hidden", text, "Type the name anew.")
    if article:
        cure = "Templates such as 'a photo of a {}.' bring their own: leave it out."
        yield Observation(NOTE, "article", f"{where} begins with {article!r}", cure)
    if plain_form(name).replace(" ", "").isdigit():
        cure = "A model knows words: write what the number stands for."
        yield Observation(NOTE, "number", f"{where} is a number alone", cure)
    if apart:
        cure = "If so, write it in two words: CLIP has read few texts that glue them."
        yield Observation(NOTE, "glued", f"{where} may be {apart!r} without its blank", cure)


def _refusal(source: str | PathLike[str]) -> Iterator[Observation]:
    """What `Vocabulary.parse` has against a list, the rest of whose file may be faulty."""
    try:
        Vocabulary.parse(source)
    except (ValueError, TypeError) as error:
        yield Observation(WRONG, "refused", str(error))


def _grouped(pairs: Any) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
