"""Class names chosen at run time, and what becomes of pixels of no class.

The standard library only, so that data tools and evaluators can use them on a machine without torch
or Detectron2.
"""

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Union

from stseg.structures.word_sources import (
    classes_of,
    content_of,
    file_of,
    is_shipped,
    likely_mistakes,
    split_text,
)
from stseg.utils import did_you_mean, name_key, some_of

_JOINERS = "\u200c\u200d"
_POLICIES = ("none", "threshold", "distractors")

VocabularyLike = Union["Vocabulary", str, PathLike[str], Sequence[str | Sequence[str]]]


def _clean(name: Any, where: str) -> str:
    """Strip a name, fold inner white space to single blanks, and accents to their letters."""
    if not isinstance(name, str):
        raise TypeError(f"{where}: expected a name (text), got {name!r}.")
    cleaned = unicodedata.normalize("NFC", " ".join(_seen_part(name).split()))
    if not name_key(name):
        raise ValueError(
            f"{where}: expected a name, got an empty one. "
            "Remove the spare comma, semicolon or entry; its place would shift every later class."
        )
    return cleaned


def _seen_part(name: str) -> str:
    """A name without zero-width blanks and marks of direction; joiners are part of some scripts."""
    return "".join(x for x in name if x in _JOINERS or unicodedata.category(x) != "Cf")


def _class_synonyms(entry: Any, position: int) -> tuple[str, ...]:
    """Synonyms of one class out of "cat, kitten" or ["cat", "kitten"]."""
    where = f"Vocabulary, class {position}"
    if isinstance(entry, str):
        parts: Sequence[Any] = entry.split(",")
    elif isinstance(entry, (list, tuple)):
        parts = entry
    else:
        raise TypeError(f"{where}: expected a name or a list of synonyms, got {entry!r}.")
    if not parts:
        raise ValueError(f"{where}: expected at least one name, got an empty list.")
    shown = f"{where} ({entry!r})"
    synonyms = tuple(_clean(part, shown) for part in parts)
    seen: set[str] = set()
    for synonym in synonyms:
        if name_key(synonym) in seen:
            raise ValueError(f"{shown}: expected different synonyms, got {synonym!r} twice.")
        seen.add(name_key(synonym))
    return synonyms


def _check_shared_names(synonyms: Sequence[Sequence[str]], allow: bool) -> None:
    """Refuse two classes with one first name, or (always) with the very same synonyms."""
    first_at: dict[str, int] = {}
    whole_at: dict[frozenset[str], int] = {}
    for position, names in enumerate(synonyms, start=1):
        whole = frozenset(map(name_key, names))
        first = name_key(names[0])
        if whole in whole_at or (first in first_at and not allow):
            earlier = whole_at.get(whole, first_at.get(first))
            raise ValueError(
                f"Vocabulary, class {position}: expected a name of its own, got {names[0]!r}, "
                f"which class {earlier} has already. Remove one of the two"
                + (", or allow_shared_names=true if both are meant." if not allow else ".")
            )
        first_at.setdefault(first, position)
        whole_at[whole] = position


@dataclass(frozen=True)
class Background:
    """What becomes of pixels that belong to no class of the vocabulary.

    Attributes:
        policy: "none" (every pixel gets a class), "threshold" (pixels whose confidence is below
            `value` become unknown, -1) or "distractors" (`names` compete with the classes; pixels
            they win become unknown, -1).
        value: confidence in (0, 1], for "threshold" only.
        names: extra names, for "distractors" only.
    """

    policy: str = "none"
    value: float = 0.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in _POLICIES:
            raise ValueError(
                f"Background policy: expected one of {', '.join(_POLICIES)}, got {self.policy!r}."
            )
        if self.policy == "threshold" and not 0.0 < self.value <= 1.0:  # also refuses NaN
            raise ValueError(
                f"Background threshold: expected a confidence in (0, 1], got {self.value}."
            )
        if self.policy == "distractors" and not self.names:
            raise ValueError("Background distractors: expected at least one name, got none.")

    @classmethod
    def threshold(cls, value: float) -> "Background":
        """Pixels less confident than `value`, in (0, 1], are unknown."""
        return cls("threshold", value=float(value))

    @classmethod
    def distractors(cls, names: VocabularyLike) -> "Background":
        """Pixels won by one of these names (same forms as a vocabulary) are unknown.

        Synonyms need no grouping here: every name counts on its own.
        """
        parsed = Vocabulary.parse(names)
        by_key = {name_key(s): s for group in parsed.synonyms for s in group}
        return cls("distractors", names=tuple(by_key.values()))

    @classmethod
    def parse(cls, text: str) -> "Background":
        """Read the command-line form: `none`, `threshold=0.3` or `distractors=sky; wall`."""
        policy, _, value = (part.strip() for part in text.partition("="))
        if policy == "threshold":
            try:
                return cls.threshold(float(value))
            except ValueError as error:
                raise ValueError(
                    f"Background: expected threshold=<confidence in (0, 1]>, got {text!r}."
                ) from error
        if policy == "distractors":
            return cls.distractors(value)
        if policy == "none" and not value:
            return cls()
        raise ValueError(
            f"Background: expected none, threshold=<0..1> or distractors=<names>, got {text!r}."
        )


@dataclass(frozen=True)
class Vocabulary:
    """Ordered class names chosen at run time, with how to ask for them.

    Attributes:
        names: T display names; the index is the class id.
        synonyms: T tuples of names; the first of each is the display name. A class scores as
            its best synonym.
        seen: T marks, True where the class had masks in training; None where not known.
        background: what becomes of pixels of no class.
        rest: index of the one class that has no words, "background" of VOC-21, say: it stands for
            whatever the others do not cover. A system may treat it so, or ask for its name like for
            any other. Unlike `background` it is a class, with an id of its own. None for none.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    seen: tuple[bool, ...] | None = None
    background: Background = field(default_factory=Background)
    rest: int | None = None

    def __post_init__(self) -> None:
        if not self.synonyms:
            raise ValueError(
                'Vocabulary: expected at least one class, got none. Give names such as "cat; dog".'
            )
        if self.names != tuple(group[0] for group in self.synonyms):
            raise ValueError("Vocabulary: expected each name to be the first of its synonyms.")
        _check_shared_names(self.synonyms, allow=True)
        if self.seen is not None and len(self.seen) != len(self.names):
            raise ValueError(
                f"Vocabulary seen marks: expected {len(self.names)}, got {len(self.seen)}."
            )
        if self.rest is not None and not (0 <= self.rest < len(self.names) > 1):
            raise ValueError(
                f"Vocabulary rest: expected one of {len(self.names)} classes beside others, got "
                f"number {self.rest}."
            )
        known = {name_key(name) for group in self.synonyms for name in group}
        for name in self.background.names:
            if name_key(name) in known:
                raise ValueError(
                    f"Background distractors: expected names outside the vocabulary, got {name!r}."
                )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @classmethod
    def parse(
        cls,
        source: VocabularyLike,
        *,
        background: Background | None = None,
        allow_shared_names: bool = False,
    ) -> "Vocabulary":
        """Read a vocabulary from what a user has at hand.

        Args:
            source: text `"cat, kitten; dog; traffic light"` (commas part synonyms, semicolons or
                new lines part classes); a path to a .txt (one class a line, commas part synonyms,
                lines that start with # are left out) or .json file (a list of names or of synonym
                lists, or an object with "classes" and optionally "seen", "rest" (the name of the
                class without words) and "allow_shared_names"); "vocab:ade20k_150" for
                a list that ships with the data sets; a list of names or of synonym lists; or a
                Vocabulary.
            background: policy for pixels of no class, instead of the source's own.
            allow_shared_names: accept two classes with one display name but different synonyms,
                as ADE20K-847 has ("bag", "bag, handbag").

        Raises:
            ValueError: for an empty vocabulary, or an empty or repeated name (case, Unicode forms
                and what cannot be seen do not tell names apart); the text names the entry and its
                position, counted from 1. Also for text that is JSON or looks like another file.
            FileNotFoundError: if `source` is called like a names file and no such file exists, or
                names a list that does not ship.
            TypeError: for a source or an entry of another type.
        """
        if isinstance(source, Vocabulary):
            parsed = source
        elif isinstance(source, (str, PathLike)) and (path := file_of(source)):
            parsed = _read_file(cls, path, allow_shared_names)
        elif isinstance(source, str):
            parsed = cls.from_names(split_text(source), allow_shared_names=allow_shared_names)
        else:
            entries: Any = source  # `from_names` looks at it
            parsed = cls.from_names(entries, allow_shared_names=allow_shared_names)
        if background is not None:
            parsed = replace(parsed, background=background)
        return parsed

    @classmethod
    def from_names(
        cls, entries: Sequence[str | Sequence[str]], *, allow_shared_names: bool = False
    ) -> "Vocabulary":
        """Build from one entry per class: "cat", "cat, kitten" or ["cat", "kitten"]."""
        if isinstance(entries, (str, bytes)) or not isinstance(entries, Sequence):
            raise TypeError(
                f"Vocabulary: expected text, a path or a list of names, got {type(entries)}."
            )
        synonyms = tuple(_class_synonyms(entry, i) for i, entry in enumerate(entries, start=1))
        _check_shared_names(synonyms, allow=allow_shared_names)
        return cls(names=tuple(group[0] for group in synonyms), synonyms=synonyms)

    def with_seen(self, source: VocabularyLike) -> "Vocabulary":
        """Mark as seen every class one of whose names occurs in `source` (case is ignored).

        Names that only the source has mark nothing: it may be another data set's list. For a choice
        out of these classes see `chosen`.
        """
        other = Vocabulary.parse(source, allow_shared_names=True)
        known = {name_key(name) for group in other.synonyms for name in group}
        marks = tuple(any(name_key(s) in known for s in group) for group in self.synonyms)
        return replace(self, seen=marks)

    def chosen(self, source: VocabularyLike, what: str) -> tuple[bool, ...]:
        """A mark for each class that a person names out of this vocabulary.

        Args:
            source: as `parse` takes it; a list that ships ("vocab:...") may have others, too, but
                not only others.
            what: the choice is, for messages.

        Raises:
            ValueError: for a name that no class has; tells the nearest.
        """
        other = Vocabulary.parse(source, allow_shared_names=True)
        known = {name_key(name): name for group in self.synonyms for name in group}
        names = [name for group in other.synonyms for name in group]
        unknown = [name for name in names if name_key(name) not in known]
        if unknown and not (is_shipped(source) and len(unknown) < len(names)):
            raise ValueError(
                f"{what}: expected names out of the {len(self)} classes, got "
                f"{some_of([repr(name) for name in unknown])}, which none of them has."
                f"{did_you_mean(unknown[0], known.values())}"
            )
        marks = self.with_seen(other).seen
        return () if marks is None else marks

    def shared_synonyms(self) -> list[tuple[str, tuple[str, ...]]]:
        """Names that stand in several classes, with those classes.

        Not an error (ADE20K-847 has "bag" three times), but such classes compete for the same
        pixels with the same text.
        """
        classes: dict[str, list[str]] = defaultdict(list)
        for name, group in zip(self.names, self.synonyms, strict=True):
            for synonym in group:
                classes[name_key(synonym)].append(name)
        return [(synonym, tuple(names)) for synonym, names in classes.items() if len(names) > 1]

    def notes(self) -> list[str]:
        """What is legal but most likely not meant, a sentence each."""
        shared = [
            f"{synonym!r} stands in several classes: {'; '.join(names)}."
            for synonym, names in self.shared_synonyms()
        ]
        return likely_mistakes(self.synonyms) + shared

    @property
    def key(self) -> str:
        """SHA-256 of what is asked: synonyms, their order, and which has no words."""
        parts = [self.synonyms, *([] if self.rest is None else [self.rest])]
        content = json.dumps(parts, ensure_ascii=True)
        return hashlib.sha256(content.encode("ascii")).hexdigest()


def _read_file(cls: type[Vocabulary], path: Path, allow_shared_names: bool) -> Vocabulary:
    content = content_of(path)
    try:
        return _from_content(cls, content, allow_shared_names)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{error} Read from {str(path)!r}.") from error


def _from_content(cls: type[Vocabulary], content: Any, allow_shared_names: bool) -> Vocabulary:
    entries = classes_of(content)
    if not isinstance(content, dict):
        return cls.from_names(entries, allow_shared_names=allow_shared_names)
    if "templates" in content:
        raise ValueError(
            'Vocabulary: expected words, got "templates" as well, which belong to the model. Take '
            "them out, and set MODEL.TEXT.TEMPLATES."
        )
    allow = allow_shared_names or bool(content.get("allow_shared_names", False))
    vocabulary = cls.from_names(entries, allow_shared_names=allow)
    if content.get("seen") is not None:
        marks = vocabulary.chosen(content["seen"], 'Vocabulary "seen"')
        vocabulary = replace(vocabulary, seen=marks)
    if content.get("rest") is not None:
        rest, keys = content["rest"], [name_key(name) for name in vocabulary.names]
        if not isinstance(rest, str) or name_key(rest) not in keys:
            hint = did_you_mean(rest, vocabulary.names)
            raise ValueError(f"Vocabulary rest: expected a class, got {rest!r}.{hint}")
        vocabulary = replace(vocabulary, rest=keys.index(name_key(rest)))
    return vocabulary
