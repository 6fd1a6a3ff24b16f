"""Which classes of two vocabularies are the same thing: by name, by the shipped lists, by a table.

Eq. 6 asks it of the target (has stage 1 seen the class?), labels of stage 1 that are mixed into
stage 2 ask it of the source (which target class is this?). Names alone would call the wall, sky and
floor of ADE20K unknown to a model trained on COCO-Stuff, which calls them "wall-brick",
"sky-other" and "floor-wood".

What counts, the best first, is in `MATCH_RULES`. The table, `vocab/tables/same_things.json`, is
reviewed by hand: names of one thing, kinds of a thing, and pairs that a list joins wrongly. The
shipped lists: the smallest that holds all names of a vocabulary speaks for it, and a class then
goes by all names that this data set's lists give it ("windowpane" by "window").

Case and the blanks and hyphens inside a name do not matter ("diningtable" is "dining table").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

import numpy as np

from stseg.data.datasets.class_lists import STYLES, load_class_list, load_table
from stseg.structures import IGNORE_LABEL, Vocabulary

#: How a class of one vocabulary may be one of the other, the best first.
MATCH_RULES = ("same names", "same name", "synonym", "table", "shipped list", "kind of it")
_SYNONYM = MATCH_RULES.index("synonym")


@dataclass(frozen=True)
class Match:
    """A source class that is the same thing as a target class, or a kind of it.

    Attributes:
        source: id of the source class.
        target: id of the target class.
        rule: index into `MATCH_RULES`.
        is_doubtful: the only words they share are the display names of other classes, as "dog",
            which also stands among the synonyms of "andiron".
    """

    source: int
    target: int
    rule: int
    is_doubtful: bool = False


def known_classes(source: Vocabulary, target: Vocabulary) -> tuple[Match | None, ...]:
    """For each of the T target classes the best match among the source's, None without one."""
    best: list[Match | None] = [None] * len(target)
    for match in _matches(source, target):
        present = best[match.target]
        if not match.is_doubtful and (present is None or match.rule < present.rule):
            best[match.target] = match
    return tuple(best)


def label_translation(source: Vocabulary, target: Vocabulary) -> np.ndarray:
    """Target id of every source class, by the best rule that fits it.

    Where several target classes fit equally well (a source "vehicle, car, truck" for a target with
    both "car" and "truck") the label would be a guess, and is ignored.

    Returns:
        (T_source,) int64 ids in [0, T_target); IGNORE_LABEL where the target has no such class.
    """
    found: list[list[Match]] = [[] for _ in source.names]
    for match in _matches(source, target):
        found[match.source].append(match)
    return np.array([_only_target(matches) for matches in found], dtype=np.int64)


def _only_target(matches: list[Match]) -> int:
    best = [m for m in matches if m.rule == min(other.rule for other in matches)]
    if len(best) != 1 or best[0].is_doubtful:
        return IGNORE_LABEL
    return best[0].target


@dataclass(frozen=True)
class _Names:
    """What a class goes by, as keys.

    Attributes:
        own: those that its vocabulary gives.
        owned: those of them that are no other class's display name.
        listed: `owned` and what the shipped lists add, likewise.
        display: its display name, and those that the shipped lists give it.
        same: names of the same things as `display`, by the table.
        kinds: names of kinds of them, by the table.
    """

    own: frozenset[str]
    owned: frozenset[str]
    listed: frozenset[str]
    display: tuple[str, ...]
    same: frozenset[str]
    kinds: frozenset[str]


def _matches(source: Vocabulary, target: Vocabulary) -> Iterator[Match]:
    """Every pair that fits, by its best rule; source by source."""
    sources, targets = _names_of(source), _names_of(target)
    for i, one in enumerate(sources):
        for j, other in enumerate(targets):
            rule = _rule(one, other)
            if rule is None or (rule >= _SYNONYM and _are_different(one, other)):
                continue
            yield Match(i, j, rule, rule == _SYNONYM and one.owned.isdisjoint(other.owned))


def _rule(one: _Names, other: _Names) -> int | None:
    """Index of the first rule by which a source class is a target class."""
    tests = (
        one.own == other.own,
        one.display[0] == other.display[0],
        not one.own.isdisjoint(other.own),
        not one.same.isdisjoint(other.same),
        not one.listed.isdisjoint(other.listed),
        not one.same.isdisjoint(other.kinds),
    )
    return next((rule for rule, fits in enumerate(tests) if fits), None)


def _are_different(one: _Names, other: _Names) -> bool:
    pairs = (frozenset((a, b)) for a in one.display for b in other.display)
    return not _table().different.isdisjoint(pairs)


def _names_of(vocabulary: Vocabulary) -> list[_Names]:
    table = _table()
    groups = [tuple(map(_key, group)) for group in vocabulary.synonyms]
    displayed = {group[0] for group in groups}
    names = []
    for group, forms in zip(groups, _listed_forms(groups), strict=True):
        others = displayed - {group[0]}
        display = tuple(dict.fromkeys(form[0] for form in (group, *forms)))
        same = frozenset().union(*(table.same.get(key, {key}) for key in display))
        names.append(
            _Names(
                own=frozenset(group),
                owned=frozenset(group) - others,
                listed=frozenset().union(group, *forms) - others,
                display=display,
                same=same,
                kinds=frozenset().union(*(table.kinds.get(key, ()) for key in same)),
            )
        )
    return names


def _listed_forms(groups: Sequence[tuple[str, ...]]) -> Sequence[tuple[tuple[str, ...], ...]]:
    """For each class its names in every style of the smallest shipped list that holds them all."""
    for entries in sorted(_shipped_entries(), key=len):
        found = list(takewhile(bool, (_entry(group, entries) for group in groups)))
        if len(found) == len(groups):
            return found
    return [()] * len(groups)


def _entry(
    group: tuple[str, ...], entries: Sequence[tuple[tuple[str, ...], ...]]
) -> tuple[tuple[str, ...], ...]:
    """The entry that has the class in one of its forms, else the one with its name, else ()."""
    named: tuple[tuple[str, ...], ...] = ()
    for forms in entries:
        if group in forms:
            return forms
        if not named and any(form[0] == group[0] for form in forms):
            named = forms
    return named


@cache
def _shipped_entries() -> tuple[tuple[tuple[tuple[str, ...], ...], ...], ...]:
    """List by list, class by class: its names in every style, as keys."""
    return tuple(
        tuple(
            tuple(tuple(map(_key, entry.split(","))) for entry in forms)
            for forms in zip(*map(load_class_list, (stem, *styles.values())), strict=True)
        )
        for stem, styles in STYLES.items()
    )


@dataclass(frozen=True)
class _Table:
    same: dict[str, frozenset[str]]
    kinds: dict[str, frozenset[str]]
    different: frozenset[frozenset[str]]


@cache
def _table() -> _Table:
    content = load_table("same_things")
    groups = [_keys(group) for group in content["same"]]
    same = {key: group for group in groups for key in group}
    kinds: dict[str, frozenset[str]] = {}
    for general, special in content["kinds"].items():
        keys = _keys(special)
        every = keys.union(*(same.get(key, ()) for key in keys))
        for key in same.get(_key(general), {_key(general)}):
            kinds[key] = every
    return _Table(same, kinds, frozenset(map(_keys, content["different"])))


def _keys(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_key, names))


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
