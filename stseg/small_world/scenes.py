"""Scenes of the small world: pictures, exact label maps and captions from a seed and an index.

A label map is exact by construction: every pixel carries the class that was painted on it last with
at least half coverage. A caption is written from the label map after occlusion, so every thing it
names can be seen, and it names all that can be seen.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from functools import partial

import numpy as np

from stseg.small_world.drawing import draw_thing
from stseg.small_world.names import CLASS_NAMES, COLOURS, PATTERNS, STUFF_NAMES, THING_NAMES
from stseg.small_world.textures import cut_texture

# A split owns the seeds from SPLIT_SEEDS[split] up to, not including, + SEEDS_PER_SPLIT.
SEEDS_PER_SPLIT = 1_000_000
SPLIT_SEEDS = {"train": 0, "dev": 1_000_000, "val": 2_000_000}
SCENE_SIZE = 128
THING_EXTENT = (34, 84)  # side of the frame of a thing in a scene, pixels
MIN_SEEN_PIXELS = 48
MIN_SEEN_SHARE = 0.3
MIN_STUFF_SHARE = 0.04
_SENTENCES = ("a photo of {}", "{}", "a picture with {}", "there is {}", "{} in the scene")


@dataclass(frozen=True)
class Phrase:
    """One visible region in words; ``colour`` and ``pattern`` are empty for stuff."""

    noun: str
    colour: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class Scene:
    """One picture of the small world.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8, index into ``CLASS_NAMES``.
        phrases: what can be seen, in the order of the caption.
        caption: one sentence that names all of ``phrases``.
    """

    image: np.ndarray
    label_map: np.ndarray
    phrases: tuple[Phrase, ...]
    caption: str


def _paint_stuff(size: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    names = rng.choice(len(STUFF_NAMES), count, replace=False)
    canvas = cut_texture(STUFF_NAMES[names[0]], size, rng)
    labels = np.full((size, size), names[0], np.uint8)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    for name in names[1:]:
        angle = rng.uniform(-0.4, 0.4) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        bend = 0.05 * np.sin(along * rng.uniform(4, 14) + rng.uniform(0, 6))
        region = across + bend > rng.uniform(-0.15, 0.22)
        canvas = np.where(region[..., None], cut_texture(STUFF_NAMES[name], size, rng), canvas)
        labels[region] = name
    return canvas, labels


@dataclass
class _Placed:
    phrase: Phrase
    area: int
    mask: np.ndarray


def _place_thing(
    canvas: np.ndarray,
    labels: np.ndarray,
    placed: list[_Placed],
    extent: int,
    rng: np.random.Generator,
) -> None:
    """Draw one random thing in place; leave the scene alone if it would hide another too far."""
    size = labels.shape[0]
    noun = THING_NAMES[rng.integers(len(THING_NAMES))]
    colour = list(COLOURS)[rng.integers(len(COLOURS))]
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    degrees, flip, phase = rng.uniform(-20, 20), rng.random() < 0.5, rng.random()
    rgb, coverage = draw_thing(noun, colour, pattern, extent, degrees, flip, phase)
    slack = extent // 6
    left, top = rng.integers(-slack, max(size - extent + slack, 1 - slack), 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + extent, size), min(top + extent, size)
    cover = np.zeros((size, size), np.float32)
    cover[y0:y1, x0:x1] = coverage[y0 - top : y1 - top, x0 - left : x1 - left]
    mask = cover >= 0.5
    if any((other.mask & ~mask).sum() < 0.45 * other.area for other in placed):
        return
    window = (slice(y0, y1), slice(x0, x1))
    weight = cover[window][..., None]
    light = rng.uniform(0.88, 1.1)
    paint = rgb[y0 - top : y1 - top, x0 - left : x1 - left] * light
    canvas[window] = canvas[window] * (1 - weight) + paint * weight
    labels[mask] = CLASS_NAMES.index(noun)
    for other in placed:
        other.mask &= ~mask
    placed.append(_Placed(Phrase(noun, colour, pattern), int((coverage >= 0.5).sum()), mask))


def _visible(labels: np.ndarray, placed: list[_Placed]) -> list[Phrase]:
    things = [
        item.phrase
        for item in placed
        if item.mask.sum() >= max(MIN_SEEN_PIXELS, MIN_SEEN_SHARE * item.area)
    ]
    shares = np.bincount(labels.ravel(), minlength=len(CLASS_NAMES)) / labels.size
    stuff = [Phrase(n) for n, s in zip(STUFF_NAMES, shares, strict=False) if s >= MIN_STUFF_SHARE]
    return things + stuff


def phrase_text(phrase: Phrase, rng: np.random.Generator) -> str:
    """A phrase in words, each attribute left out some of the time as people do."""
    if not phrase.colour:
        return phrase.noun
    words = [phrase.noun]
    if rng.random() < 0.7:
        words.insert(0, phrase.colour)
    if rng.random() < (0.4 if phrase.pattern == "plain" else 0.7):
        words.insert(0, phrase.pattern)
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words])


def _write_caption(phrases: list[Phrase], rng: np.random.Generator) -> str:
    things = [phrase_text(p, rng) for p in phrases if p.colour]
    stuff = [p.noun for p in phrases if not p.colour]
    text = " and ".join(things)
    if stuff:
        joint = " on " if things else ""
        text += joint + " and ".join(stuff)
    return _SENTENCES[rng.integers(len(_SENTENCES))].format(text)


def render(seed: int, index: int, size: int = SCENE_SIZE, kind: str = "scene") -> Scene:
    """Render one picture; the same arguments give the same bytes on every machine.

    Args:
        seed: seed of the split, see ``SPLIT_SEEDS``.
        index: number of the picture under that seed.
        size: side of the picture in pixels.
        kind: "scene" (up to three stuffs and six things), "object" (one large thing, as in much of
            the web's data) or "stuff" (no thing).

    Raises:
        ValueError: if ``kind`` is none of these.
    """
    if kind not in ("scene", "object", "stuff"):
        raise ValueError(f"kind: expected 'scene', 'object' or 'stuff', got {kind!r}.")
    rng = np.random.default_rng([seed, index, size, len(kind)])
    regions = int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25])) if kind == "scene" else 1
    regions = int(rng.integers(1, 3)) if kind == "stuff" else regions
    canvas, labels = _paint_stuff(size, regions, rng)
    placed: list[_Placed] = []
    if kind == "object":
        _place_thing(canvas, labels, placed, int(size * rng.uniform(0.55, 1.0)), rng)
    elif kind == "scene":
        wanted = max(1, round(rng.integers(2, 7) * (size / SCENE_SIZE) ** 2))
        for _ in range(wanted):
            _place_thing(canvas, labels, placed, int(rng.uniform(*THING_EXTENT)), rng)
    image = canvas * rng.uniform(0.9, 1.05) + rng.normal(0, 3, canvas.shape)
    phrases = _visible(labels, placed)
    order = rng.permutation(len(phrases))
    phrases = [phrases[i] for i in order]
    caption = _write_caption(phrases, rng)
    ordered = [p for p in phrases if p.colour] + [p for p in phrases if not p.colour]
    return Scene(np.clip(image, 0, 255).astype(np.uint8), labels, tuple(ordered), caption)


def render_training(
    count: int,
    size: int = SCENE_SIZE,
    kinds: tuple[str, ...] = ("scene",),
    seed: int = 0,
    workers: int = 2,
) -> list[Scene]:
    """Render the first ``count`` training pictures, the kinds in turn.

    Args:
        count: number of pictures.
        size: side in pixels.
        kinds: see ``render``; a kind may be repeated to have more of it.
        seed: added to the seed of the train split.
        workers: processes; 0 renders in this one.
    """
    draw = partial(_kind_in_turn, seed=SPLIT_SEEDS["train"] + seed, size=size, kinds=kinds)
    if not workers:
        return [draw(i) for i in range(count)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.map(draw, range(count), chunksize=32)


def _kind_in_turn(index: int, seed: int, size: int, kinds: tuple[str, ...]) -> Scene:
    return render(seed, index, size, kinds[index % len(kinds)])
