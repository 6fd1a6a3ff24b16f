"""Words that have lost the blank between them, such as "airconditioner".

The dictionary is what ships: the names of all class lists. A word is glued where

- its halves stand side by side in a name, and CLIP's tokenizer does not know it as one word, or
- both halves are words of names, of four letters and more, and neither the lists nor the tokenizer
  know it as one word.

The tokenizer's words are read from open_clip's file where that is installed: "keyboard" is one, and
is no "key board". Without it only the first rule is used.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from stseg.structures import Vocabulary, shipped_lists
from stseg.tools.vocabulary.name_forms import plain_form
from stseg.utils import is_installed

_SHORTEST = 4  # letters of a half that stands in no name beside the other
_MERGES = 49152 - 256 - 2  # lines of the file that CLIP uses, without the head
_WORD = re.compile(r"[a-z]{5,}")


@cache
def _shipped() -> tuple[frozenset[str], dict[str, str]]:
    """Words of all names, and pairs of neighbours by what they are when glued."""
    words: set[str] = set()
    pairs: dict[str, str] = {}
    for name in shipped_lists():
        vocabulary = Vocabulary.parse(f"vocab:{name}", allow_shared_names=True)
        for synonym in (s for group in vocabulary.synonyms for s in group):
            parts = plain_form(synonym).split()
            words.update(parts)
            pairs |= {a + b: f"{a} {b}" for a, b in zip(parts, parts[1:], strict=False)}
    return frozenset(words - pairs.keys()), pairs


@cache
def _words_of_clip() -> frozenset[str]:
    """Words that CLIP's tokenizer has as one token; none where open_clip is not installed."""
    spec = find_spec("open_clip") if is_installed("open_clip") else None
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    path = folder / "bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        return frozenset()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : _MERGES + 1]
    ends = (merge.replace(" ", "") for merge in merges if merge.endswith("</w>"))
    return frozenset(end.removesuffix("</w>") for end in ends)


def unglued(name: str) -> str:
    """A name with the blanks that it seems to lack; "" where it lacks none."""
    parts = plain_form(name).split()
    found = [_unglued_word(part) for part in parts]
    return " ".join(f or p for f, p in zip(found, parts, strict=True)) if any(found) else ""


def _unglued_word(word: str) -> str:
    words, pairs = _shipped()
    known = _words_of_clip()
    if not _WORD.fullmatch(word) or word in known:
        return ""
    if word in pairs:
        return pairs[word]
    if not known or word in words:
        return ""
    return next(_halves(word, words), "")


def _halves(word: str, words: frozenset[str]) -> Iterator[str]:
    for at in range(_SHORTEST, len(word) - _SHORTEST + 1):
        first, second = word[:at], word[at:]
        if first in words and second in words:
            yield f"{first} {second}"
