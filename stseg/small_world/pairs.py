"""Image-caption pairs for the contrastive training of CLIP-mini, and what their captions say.

Only captions are used from here on, never label maps: nouns and attributes are read back from the
sentence, as GroupViT (CVPR 2022, section 3.2) does with the nouns of web captions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from stseg.small_world.names import CLASS_NAMES, COLOURS, PATTERNS
from stseg.small_world.scenes import Phrase, render_training

UNSAID = -1
_PHRASE = re.compile(
    rf"\b(?:(?P<pattern>{'|'.join(PATTERNS)}) )?(?:(?P<colour>{'|'.join(COLOURS)}) )?"
    rf"(?P<noun>{'|'.join(CLASS_NAMES)})\b"
)


def parse_caption(caption: str) -> tuple[Phrase, ...]:
    """Every class name in a caption with the attributes said before it, in order."""
    return tuple(
        Phrase(m["noun"], m["colour"] or "", m["pattern"] or "") for m in _PHRASE.finditer(caption)
    )


def phrase_code(phrase: Phrase) -> tuple[int, int, int]:
    """(class, colour, pattern) as indices, ``UNSAID`` where the phrase leaves one open."""
    colour = list(COLOURS).index(phrase.colour) if phrase.colour else UNSAID
    pattern = PATTERNS.index(phrase.pattern) if phrase.pattern else UNSAID
    return CLASS_NAMES.index(phrase.noun), colour, pattern


@dataclass(frozen=True)
class PairPool:
    """Rendered pictures of one size with what their captions say.

    Attributes:
        images: (N, size, size, 3) uint8 RGB.
        captions: N sentences.
        said: per picture an (M, 3) int array of ``phrase_code``.
        named: (N, T) bool, which classes the caption names.
    """

    images: np.ndarray
    captions: list[str]
    said: list[np.ndarray]
    named: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)


def build_pool(
    count: int, size: int, kinds: tuple[str, ...], seed: int = 0, workers: int = 2
) -> PairPool:
    """Pictures of `render_training`, whose arguments these are, with what is said of them."""
    scenes = render_training(count, size, kinds, seed, workers)
    captions = [scene.caption for scene in scenes]
    said = [np.array([phrase_code(p) for p in parse_caption(c)]).reshape(-1, 3) for c in captions]
    named = np.zeros((count, len(CLASS_NAMES)), bool)
    for row, codes in zip(named, said, strict=True):
        row[codes[:, 0]] = True
    return PairPool(np.stack([scene.image for scene in scenes]), captions, said, named)


def match_phrases(said: list[np.ndarray], phrases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which phrases are true of which captions, and of which nothing is known.

    "red star" is true where a caption says "striped red star", unknown where it says only "star",
    false where it says "blue star" or no star.

    Args:
        said: per caption an (M, 3) array of codes.
        phrases: (P, 3) codes.

    Returns:
        true and unknown, each (B, P) bool.
    """
    true = np.zeros((len(said), len(phrases)), bool)
    unknown = np.zeros_like(true)
    for i, codes in enumerate(said):
        same = codes[:, None, 0] == phrases[None, :, 0]
        asked, given = phrases[None, :, 1:], codes[:, None, 1:]
        agrees = ((asked == UNSAID) | (asked == given)).all(-1)
        clashes = ((asked != UNSAID) & (given != UNSAID) & (asked != given)).any(-1)
        true[i] = (same & agrees).any(0)
        unknown[i] = (same & ~clashes).any(0) & ~true[i]
    return true, unknown
