"""What a text tower makes of names: which it cuts off, hardly tells apart, or never read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stseg.structures import Vocabulary
from stseg.tools import NOTE, WRONG, Observation

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import nn

#: Cosine from which on two names are called near. Of CLIP-mini, the one tower that could be asked,
#: the names that it was trained on stay below 0.80, and those that it has never read, which it
#: cannot tell apart, lie above 0.88 in the middle (COCO-Stuff, ADE20K, VOC, Cityscapes). Another
#: tower may want another limit.
NEAR = 0.95

_SHOWN = 20  # of the nearest pairs


def text_encoder_of(cfg: CfgNode, weights: str | None = None) -> nn.Module:
    """The text side that a model asks with: of the weights, or else of CLIP as configured.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there are no weights, or they do not fit.
    """
    if weights or cfg.MODEL.WEIGHTS:
        from stseg.predictor import Predictor

        return Predictor(cfg, weights=weights).model.text_encoder
    from stseg.modeling.encoders import create_clip
    from stseg.modeling.text import build_text_encoder

    clip = create_clip(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED)
    return build_text_encoder(cfg, clip).to(cfg.MODEL.DEVICE)


def lint_with_model(
    vocabulary: Vocabulary, encoder: nn.Module, limit: float = NEAR
) -> list[Observation]:
    """Look at names as a text tower does.

    Args:
        vocabulary: whose names are looked at, synonyms included.
        encoder: a `CLIPTextEncoder`.
        limit: cosine in [-1, 1] from which on two names of different classes are called near.

    Returns:
        Notes: names that are cut off, then the nearest pairs, and how many more there are; what is
        wrong where two names are one text to the tower.
    """
    found = list(_cut(vocabulary, encoder))
    try:
        return found + _near(vocabulary, encoder, limit)
    except ValueError as error:
        return [Observation(WRONG, "cut", str(error)), *found]


def unknown_words(vocabulary: Vocabulary, encoder: nn.Module, pretrained: str) -> list[Observation]:
    """Names that weights do not know, where a list of what they know lies beside them.

    Args:
        vocabulary: whose names are looked at, synonyms included.
        encoder: a `CLIPTextEncoder`.
        pretrained: as MODEL.CLIP.PRETRAINED.
    """
    from stseg.modeling.text import KnownWords

    known = KnownWords.of(pretrained)
    names = [name for group in vocabulary.synonyms for name in group]
    notes = known.notes(names, encoder.encode_prompts) if known else []
    return [Observation(NOTE, "unknown", note) for note in notes]


def _cut(vocabulary: Vocabulary, encoder: nn.Module) -> Iterator[Observation]:
    """Names with no room for another word behind them, whichever it is."""
    from stseg.modeling.text import cut_names

    longest = max(encoder.templates, key=lambda template: len(template.split("{}")[0]))
    names = dict.fromkeys(name for group in vocabulary.synonyms for name in group)
    for name in cut_names(names, encoder.tokenizer, longest):
        yield Observation(
            NOTE,
            "cut",
            f"{name!r} fills the tokens of the text tower, or is cut off there",
            f"Shorten it; the longest template is {longest!r}.",
        )


def _near(vocabulary: Vocabulary, encoder: nn.Module, limit: float) -> list[Observation]:
    """Pairs of names, of two classes, above the limit; the nearest first."""
    names = [name for group in vocabulary.synonyms for name in group]
    owner = np.repeat(np.arange(len(vocabulary)), [len(group) for group in vocabulary.synonyms])
    rows, folded = name_embeddings(names, encoder), np.array([name.casefold() for name in names])
    cosine = rows @ rows.T
    apart = np.triu((owner[:, None] != owner) & (folded[:, None] != folded), 1)
    pairs = np.argwhere(apart & (cosine >= limit))
    pairs = pairs[np.argsort(-cosine[tuple(pairs.T)], kind="stable")]
    cure = "The model hardly tells them apart: merge the classes, or take words farther apart."
    found = [
        Observation(NOTE, "near", f"{names[i]!r} and {names[j]!r}: cosine {cosine[i, j]:.3f}", cure)
        for i, j in pairs[:_SHOWN]
    ]
    if len(pairs) > _SHOWN:
        text = f"{len(pairs) - _SHOWN} more pairs of {int(apart.sum())} lie above {limit:g}"
        found.append(
            Observation(
                NOTE,
                "near",
                text,
                "Many such pairs: a tower that knows few of these words, or a "
                "limit that is too low for it.",
            )  # fmt: skip
        )
    return found


def name_embeddings(names: Sequence[str], encoder: nn.Module) -> np.ndarray:
    """(N, C) float32, unit rows: the mean of each name under all templates."""
    unique = {name.casefold(): name for name in names}  # a vocabulary has no name twice
    rows = encoder(Vocabulary.from_names([[name] for name in unique.values()])).embeds
    means = rows.mean(dim=1).cpu().numpy()
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    at = {key: row for row, key in enumerate(unique)}
    return means[[at[name.casefold()] for name in names]]
