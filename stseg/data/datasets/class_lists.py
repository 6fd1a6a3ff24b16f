"""Class lists, id tables and zero-shot splits that ship with the project, in `vocab/`.

`vocab/<list>.json` holds the names a model is asked for, with their source; the plain list of a
data set also names the ids of its label maps. `vocab/tables/` holds the ids of downloads and of
maps that peers write in another order, and which names stand for the same things, `vocab/splits/`
the classes a zero-shot model must not be trained on. Needs no Detectron2.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from stseg.structures import Vocabulary
from stseg.utils import name_key

VOCAB_DIR = Path(__file__).parent / "vocab"

#: Other words for the classes of a plain list: {plain list: {ending of the data set's name: list}}.
STYLES: dict[str, dict[str, str]] = {
    "coco_stuff_171": {"synonyms": "coco_stuff_171_synonyms"},
    "ade20k_150": {"synonyms": "ade20k_150_synonyms"},
    "ade20k_847": {"synonyms": "ade20k_847_synonyms"},
    "pascal_context_59": {"synonyms": "pascal_context_59_synonyms"},
    "pascal_context_459": {
        "spaced": "pascal_context_459_spaced",
        "synonyms": "pascal_context_459_synonyms",
    },
    "voc_20": {"synonyms": "voc_20_synonyms"},
    "voc_20b": {"synonyms": "voc_20b_synonyms"},
    "voc_21": {"rest": "voc_21_rest", "synonyms": "voc_21_synonyms"},
    "pascal_context_60": {},
    "coco_object_81": {},
    "cityscapes_19": {"synonyms": "cityscapes_19_synonyms"},
}


def _read(path: str) -> dict[str, Any]:
    return json.loads((VOCAB_DIR / f"{path}.json").read_text(encoding="utf-8"))


@cache
def load_class_list(stem: str) -> tuple[str, ...]:
    """Read the class entries of `vocab/<stem>.json`; ", " inside an entry separates synonyms."""
    return tuple(_read(stem)["classes"])


@cache
def load_id_table(stem: str) -> tuple[int, ...]:
    """Read `vocab/tables/<stem>.json`.

    Returns:
        Of a table called "*_ids": what the download calls class k. Of the others: for every id of
        the label files that are read the id it stands for, IGNORE_LABEL for one that is no class
        there.
    """
    return tuple(_read(f"tables/{stem}")["ids"])


@cache
def load_table(stem: str) -> dict[str, Any]:
    """Read `vocab/tables/<stem>.json` as it is."""
    return _read(f"tables/{stem}")


@cache
def load_unseen(split: str) -> frozenset[int]:
    """Ids of the classes that `vocab/splits/<split>.json` keeps from training."""
    content = _read(f"splits/{split}")
    names = load_class_list(content["of"])
    return frozenset(names.index(name) for name in content["unseen"])


@cache
def build_vocabulary(stem: str, split: str = "", seen_only: bool = False) -> Vocabulary:
    """A shipped class list as a vocabulary, with its class without words if it names one.

    Args:
        stem: of the list in `vocab/`.
        split: "" or the stem of a zero-shot split, which marks the classes as seen or unseen.
        seen_only: leave out the unseen classes of the split, and what one of them is called from
            the synonyms of seen ones ("throne" from ADE20K-847's toilet); no marks then.
    """
    entries, unseen = load_class_list(stem), load_unseen(split) if split else frozenset()
    if seen_only:
        withheld = frozenset(name_key(entries[i].split(", ")[0]) for i in unseen)
        entries = tuple(
            _without(entry, withheld) for i, entry in enumerate(entries) if i not in unseen
        )
    vocabulary = Vocabulary.from_names(entries, allow_shared_names=True)
    if (rest := _read(stem).get("rest")) is not None:
        vocabulary = replace(vocabulary, rest=vocabulary.names.index(rest))
    if not split or seen_only:
        return vocabulary
    return replace(vocabulary, seen=tuple(i not in unseen for i in range(len(vocabulary))))


def _without(entry: str, withheld: frozenset[str]) -> str:
    """The entry of a class without some of its synonyms."""
    return ", ".join(name for name in entry.split(", ") if name_key(name) not in withheld)
