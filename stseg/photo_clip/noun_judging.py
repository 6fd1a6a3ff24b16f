"""How open CLIP-photo is: where the right class stands for names that it never read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from stseg.modeling.text import load_templates
from stseg.photo_clip.nouns import classes_of_names, load_nouns


@torch.no_grad()
def ranks(
    tower: Callable[[Sequence[str]], Tensor],
    vectors: Tensor,
    names: Sequence[str],
    classes: Sequence[Sequence[int]],
) -> list[int]:
    """Rank, from 1, of the best right class of each name, under the mean of 80 templates.

    Args:
        tower: texts to unit vectors (N, C).
        vectors: (K, C) of the classes.
        names: N of them.
        classes: right ones of each.
    """
    templates, found = load_templates("imagenet_80"), []
    for name, right in zip(names, classes, strict=True):
        embed = tower([template.replace("{}", name) for template in templates]).mean(0)
        scores = vectors @ embed
        found.append(1 + int((scores > scores[list(right)].max()).sum()))
    return found


def judge(
    tower: Callable[[Sequence[str]], Tensor],
    vectors: Tensor,
    held_out: Iterable[str],
    count: int,
) -> dict[str, float]:
    """Median ranks among the 1,000 classes; by chance it would be about 500.

    Args:
        tower: as in `ranks`.
        vectors: likewise.
        held_out: names that were not in the training.
        count: at most so many of them, and as many of the others.

    Returns:
        Of held-out names "held_out", their number "names" and the share of ranks up to 10 "top10";
        "with_other_name" of those whose class kept another name, "alone" of the rest; "known" of
        names that were in the training.
    """
    right, out = classes_of_names(), frozenset(held_out)
    kept = {name for name in right if name not in out}
    own = [[n.lower() for n in noun.names] for noun in load_nouns("imagenet-1k")]
    held = _spread([name for name in right if name in out], count)
    found = dict(zip(held, ranks(tower, vectors, held, [right[n] for n in held]), strict=True))
    known = _spread(sorted(kept), count)
    helped = {n for n in held if any(not kept.isdisjoint(own[k]) for k in right[n])}
    figures = {
        "held_out": _median(found.values()),
        "with_other_name": _median(rank for n, rank in found.items() if n in helped),
        "alone": _median(rank for n, rank in found.items() if n not in helped),
        "top10": sum(rank <= 10 for rank in found.values()) / max(1, len(found)),
        "names": float(len(held)),
        "known": _median(ranks(tower, vectors, known, [right[n] for n in known])),
    }
    return figures if held else {"known": figures["known"]}


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of some names, from all over the alphabet."""
    return (
        list(names)
        if len(names) <= count
        else [names[i * len(names) // count] for i in range(count)]
    )


def _median(values: Iterable[int]) -> float:
    found = torch.tensor([float(value) for value in values])
    return found.quantile(0.5).item() if len(found) else float("nan")
