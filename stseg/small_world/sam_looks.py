"""Random looks for the pictures of SAM-mini: light, colour, blur, noise and paper.

SAM learned from very diverse photographs, so it follows outlines where a classifier trained on one
kind of picture fails. SAM-mini gets that diversity from here. Pictures are (H, W, 3) float32 RGB in
[0, 255], H = W = the side; `rng` draws everything.
"""

import cv2
import numpy as np

# RGB to brightness and two colour axes, and back.
_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32
)
_TO_RGB = np.linalg.inv(_TO_YIQ)


def _smooth_noise(side: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side) float32, normal values on cells x cells, bicubic between them."""
    noise = rng.standard_normal((cells, cells)).astype(np.float32)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def _turn_colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hue, saturation and a cast; now and then the channels swapped or the colours inverted."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.25)
    rich = 0.0 if rng.random() < 0.08 else rng.uniform(0.3, 1.6)
    cos, sin = np.cos(angle) * rich, np.sin(angle) * rich
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    image = image @ (_TO_RGB @ turn @ _TO_YIQ).T.astype(np.float32)
    image = image * rng.uniform(0.7, 1.25, 3).astype(np.float32)
    if rng.random() < 0.1:
        image = image[..., rng.permutation(3)]
    return 255 - image if rng.random() < 0.07 else image


def _turn_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, gamma and a light that falls off over the picture."""
    side = image.shape[0]
    image = 255 * (np.clip(image, 0, 255) / 255) ** np.exp(rng.normal(0, 0.45)).astype(np.float32)
    contrast, middle = np.exp(rng.normal(0, 0.3)), rng.uniform(80, 170)
    image = (image - middle) * contrast + middle + rng.normal(0, 20)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
        field = rng.uniform(0.2, 1.2) * (x * np.cos(angle) + y * np.sin(angle))
        image = image * np.exp(field)[..., None]
    if rng.random() < 0.3:
        shadow = _smooth_noise(side, int(rng.integers(3, 7)), rng)
        image = image * np.exp(rng.uniform(0.1, 0.4) * shadow)[..., None]
    return image


def _lay_on_paper(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain, fibres or blotches that multiply or add to the picture, with or without colour."""
    side = image.shape[0]
    channels = 3 if rng.random() < 0.4 else 1
    grain = rng.standard_normal((side, side, channels)).astype(np.float32)
    wide, high = rng.uniform(0.4, 3.0, 2)
    if rng.random() < 0.3:
        wide *= 4
    grain = cv2.GaussianBlur(grain, (0, 0), wide, sigmaY=high).reshape(side, side, channels)
    grain /= grain.std() + 1e-6
    if rng.random() < 0.3:
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 14)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
        grain = grain * 0.4 + wave[..., None]
    if rng.random() < 0.5:
        return image * np.exp(rng.uniform(0.03, 0.25) * grain)
    return image + rng.uniform(4, 28) * grain


def _spoil(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, fog, sensor noise and a strong JPEG, each some of the time."""
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.8))
    if rng.random() < 0.2:
        thick = rng.uniform(0.1, 0.6)
        image = image * (1 - thick) + thick * rng.uniform(60, 245, 3).astype(np.float32)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(2, 22), image.shape).astype(np.float32)
    if rng.random() < 0.15:
        coded = cv2.imencode(
            ".jpg",
            np.clip(image, 0, 255).astype(np.uint8),
            [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))],
        )[1]
        image = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED).astype(np.float32)
    return image


def change_look(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A strong random photometric change; outlines stay where they are.

    Args:
        image: (H, W, 3) uint8 or float RGB in [0, 255].
        rng: draws the change.

    Returns:
        (H, W, 3) float32 in [0, 255].
    """
    image = image.astype(np.float32)
    for change, chance in (
        (_lay_on_paper, 0.35),
        (_turn_colours, 0.75),
        (_turn_light, 0.75),
        (_lay_on_paper, 0.25),
        (_spoil, 0.8),
    ):
        if rng.random() < chance:
            image = np.clip(change(image, rng), 0, 255).astype(np.float32)
    return image
