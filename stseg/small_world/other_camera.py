"""The target domain: the same small world as another camera would see it, in another light.

Scenes have seeds of their own and are restyled by light, colour, paper, blur and noise only. No
pixel moves, so label maps stay exact. Training needs images alone: the paper's stage 2 (section
2.3) has no labels of the target domain.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stseg.small_world.scenes import SCENE_SIZE, Scene, render

# Seeds from here on, up to SEEDS_PER_SPLIT each. 3_000_000 and up belong to the demo's scenes.
TARGET_SEEDS = {"target_train": 4_000_000, "target_dev": 5_000_000, "target_val": 6_000_000}
# How far a scene is restyled, drawn evenly; 0 changes nothing. Fixed on target_dev with the model
# that ships, before anything was trained on this domain.
STRENGTH = (0.4, 0.9)
_STYLE_STREAM = 97  # parts the random numbers of a style from those of its scene


def restyle(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Render a picture as if painted on paper and taken by a poor camera in warm, uneven light.

    All arithmetic is in float64 and rounded once, so that last-bit differences between machines
    do not reach the bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: decides the details; the same state gives the same picture.
        strength: 0 returns the picture as it is; the target domain draws from ``STRENGTH``.

    Returns:
        (H, W, 3) uint8 RGB; every thing stays where it was.

    Raises:
        ValueError: if the image is not (H, W, 3) uint8 or the strength is out of [0, 1.5].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}.")
    if not 0 <= strength <= 1.5:
        raise ValueError(f"strength: expected 0 to 1.5, got {strength}.")
    if strength == 0:
        return image.copy()
    size = image.shape[:2]
    light = image / 255.0
    light = light * (1 + strength * (_paper(size, rng) + _gradient(size, rng)))
    light = cv2.GaussianBlur(light, (9, 9), strength * rng.uniform(0.6, 1.2))
    light = _tone(light, strength, rng)
    grain = rng.normal(0, 1, light.shape) * (0.4 + 0.6 * np.sqrt(light))
    light = light + strength * rng.uniform(0.03, 0.06) * grain
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def render_target(seed: int, index: int) -> Scene:
    """Render one picture of the target domain; the same arguments give the same bytes.

    Args:
        seed: seed of the split, see ``TARGET_SEEDS``.
        index: number of the picture under that seed.
    """
    scene = render(seed, index)
    rng = np.random.default_rng([seed, index, SCENE_SIZE, _STYLE_STREAM])
    return replace(scene, image=restyle(scene.image, rng, rng.uniform(*STRENGTH)))


def _paper(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Woven canvas with soft stains, (H, W, 1) around 0."""
    height, width = size
    period = rng.uniform(3.0, 5.0)
    y, x = np.arange(height) / period + rng.random(), np.arange(width) / period + rng.random()
    over, under = np.abs(y % 2 - 1)[:, None] - 0.5, np.abs(x % 2 - 1)[None] - 0.5
    coarse = rng.uniform(-1, 1, (height // 12 + 2, width // 12 + 2))
    stains = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    weave = rng.uniform(0.15, 0.3) * (over + under) / 2
    return (weave + rng.uniform(0.05, 0.12) * stains)[..., None]


def _gradient(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Light from one side, (H, W, 1), up to about a third brighter or darker."""
    y, x = np.linspace(-1, 1, size[0])[:, None], np.linspace(-1, 1, size[1])[None]
    down, right = rng.uniform(-0.2, 0.2, 2)
    return (down * y + right * x)[..., None]


def _tone(light: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Darker, flatter and warmer; [0, 1] in and out."""
    bend = strength * rng.uniform(-0.5, 0.1)
    contrast = 1 - strength * rng.uniform(0.1, 0.3)
    gain = 1 - strength * rng.uniform(0.05, 0.2)
    cast = 1 + strength * np.array([0.08, 0.0, -0.2]) * rng.uniform(0.3, 1.0)
    light = np.clip(light, 0, 1)
    light = light + bend * light * (1 - light)
    light = 0.45 + contrast * (light - 0.45)
    return np.clip(light * gain * cast, 0, 1)
