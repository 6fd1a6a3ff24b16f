"""The stuff of the small world: ten textures, each painted once and cut at random places."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

ATLAS_SIDE = 512
_Tone = tuple[int, int, int]


def _noise(rng: np.random.Generator, cell: int) -> np.ndarray:
    """Smooth noise in [-1, 1] whose blobs are about ``cell`` pixels wide."""
    side = ATLAS_SIDE // cell + 2
    coarse = rng.uniform(-1, 1, (side, side)).astype(np.float32)
    return cv2.resize(coarse, (ATLAS_SIDE, ATLAS_SIDE), interpolation=cv2.INTER_CUBIC)[..., None]


def _tone(*rgb: float) -> np.ndarray:
    return np.array(rgb, np.float32)


def _flat(*rgb: float) -> np.ndarray:
    return np.ones((ATLAS_SIDE, ATLAS_SIDE, 3), np.float32) * _tone(*rgb)


def _sky(rng: np.random.Generator) -> np.ndarray:
    clouds = np.clip(_noise(rng, 40) + 0.5 * _noise(rng, 16) - 0.15, 0, 0.75)
    return _flat(128, 190, 240) * (1 - clouds) + 255 * clouds


def _strokes(
    image: np.ndarray,
    rng: np.random.Generator,
    count: int,
    dx: int,
    dy: int,
    tones: Sequence[_Tone],
) -> np.ndarray:
    for x, y, tone in zip(
        rng.integers(0, ATLAS_SIDE, count),
        rng.integers(0, ATLAS_SIDE, count),
        rng.integers(0, len(tones), count),
        strict=True,
    ):
        tip = (int(x + rng.integers(-dx, dx + 1)), int(y - dy))
        cv2.line(image, (int(x), int(y)), tip, tones[tone], 1)
    return image


def _grass(rng: np.random.Generator) -> np.ndarray:
    tones = ((70, 140, 50), (140, 200, 80), (104, 176, 62), (52, 116, 44))
    return _strokes(_flat(96, 164, 60), rng, 9000, 3, 8, tones)


def _water(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:ATLAS_SIDE, 0:ATLAS_SIDE].astype(np.float32)
    wave = np.sin((y + 2.5 * np.sin(x / 5.5) + 6 * _noise(rng, 48)[..., 0]) * 2 * np.pi / 9)
    crest = np.clip(wave[..., None] - 0.55, 0, 1) * 1.6
    return _flat(36, 110, 168) * (1 - crest) + _tone(190, 228, 240) * crest


def _sand(rng: np.random.Generator) -> np.ndarray:
    grains = rng.normal(0, 13, (ATLAS_SIDE, ATLAS_SIDE, 1)).astype(np.float32)
    return _flat(226, 196, 134) + grains + 10 * _noise(rng, 24)


def _brick(rng: np.random.Generator) -> np.ndarray:
    image = _flat(208, 196, 184)
    for row, top in enumerate(range(0, ATLAS_SIDE, 8)):
        for left in range(-8 * (row % 2), ATLAS_SIDE, 16):
            tone = _tone(168, 76, 56) * rng.uniform(0.8, 1.15)
            image[top + 1 : top + 8, max(left + 1, 0) : left + 16] = tone
    return image


def _wood(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:ATLAS_SIDE, 0:ATLAS_SIDE].astype(np.float32)
    bend = 5 * _noise(rng, 64)[..., 0]
    grain = np.sin((x + bend + 3 * np.sin(y / 23)) * 1.6)[..., None]
    image = _flat(172, 120, 70) + 16 * grain + 8 * _noise(rng, 32)
    image[:, ::20] = (92, 58, 32)
    image[:, 1::20] = (120, 80, 44)
    return image


def _snow(rng: np.random.Generator) -> np.ndarray:
    drifts = _noise(rng, 20) + 0.4 * _noise(rng, 8)
    image = _flat(238, 243, 250) + _tone(16, 11, 4) * drifts
    for x, y in rng.integers(0, ATLAS_SIDE, (2200, 2)):
        cv2.circle(image, (int(x), int(y)), 1, (176, 200, 236), -1)
    return image


def _pavement(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:ATLAS_SIDE, 0:ATLAS_SIDE]
    tiles = rng.uniform(-14, 14, (200, 200)).astype(np.float32)
    image = _flat(168, 168, 172) + tiles[(x + y) // 14, (x - y) // 14][..., None]
    image[((x + y) % 14 < 2) | ((x - y) % 14 < 2)] = (112, 112, 118)
    return image


def _pebbles(
    rng: np.random.Generator,
    base: _Tone,
    tones: Sequence[_Tone],
    count: int,
    radii: tuple[int, int],
) -> np.ndarray:
    image = _flat(*base)
    for x, y in rng.integers(0, ATLAS_SIDE, (count, 2)):
        tone = _tone(*tones[int(rng.integers(len(tones)))]) * rng.uniform(0.8, 1.15)
        axes = (int(rng.integers(*radii)), int(rng.integers(*radii)))
        angle = float(rng.uniform(0, 180))
        centre = (int(x), int(y))
        cv2.ellipse(image, centre, axes, angle, 0, 360, [0.55 * float(t) for t in tone], 1)
        cv2.ellipse(image, centre, axes, angle, 0, 360, [float(t) for t in tone], -1)
    return image


def _gravel(rng: np.random.Generator) -> np.ndarray:
    tones = ((142, 132, 122), (120, 112, 108), (176, 166, 152), (98, 92, 92))
    return _pebbles(rng, (78, 72, 70), tones, 9000, (2, 5))


def _hedge(rng: np.random.Generator) -> np.ndarray:
    image = _pebbles(rng, (18, 48, 28), ((28, 92, 48), (44, 112, 56), (20, 72, 40)), 5000, (2, 7))
    for x, y in rng.integers(0, ATLAS_SIDE, (900, 2)):
        cv2.circle(image, (int(x), int(y)), 1, (214, 92, 120), -1)
    return image


_PAINTERS = {
    "sky": _sky,
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
    "wood": _wood,
    "snow": _snow,
    "pavement": _pavement,
    "gravel": _gravel,
    "hedge": _hedge,
}


@cache
def _atlas(name: str) -> np.ndarray:
    """The texture of one stuff class, (ATLAS_SIDE, ATLAS_SIDE, 3) float32 RGB, always the same."""
    rng = np.random.default_rng([7, sorted(_PAINTERS).index(name)])
    return np.clip(_PAINTERS[name](rng), 0, 255).astype(np.float32)


def cut_texture(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random (size, size, 3) float32 RGB cut of one stuff class, with a tint of its own."""
    top, left = rng.integers(0, ATLAS_SIDE - size, 2)
    cut = _atlas(name)[top : top + size, left : left + size]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    return cut * rng.uniform(0.86, 1.08) + rng.uniform(-8, 8, 3).astype(np.float32)
