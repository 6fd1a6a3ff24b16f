"""How one thing of the small world is drawn: outline, colour, pattern and inner parts."""

from __future__ import annotations

import math

import cv2
import numpy as np

from stseg.small_world.names import COLOURS
from stseg.small_world.shapes import INKS, PARTS

SUPERSAMPLING = 2


def _body_paint(colour: str, pattern: str, side: int, phase: float) -> np.ndarray:
    """The free colour and pattern of a thing over its frame, (side, side, 3) float32 RGB."""
    base = np.asarray(COLOURS[colour], np.float32)
    other = base * 0.5 if base.mean() > 130 else base * 0.35 + 255 * 0.65
    period = max(0.16 * side, 6.0 * SUPERSAMPLING)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / period + phase
    if pattern == "striped":
        mask = (x + 0.0 * y) % 1.0 < 0.45
    elif pattern == "dotted":
        mask = (x % 1.0 - 0.5) ** 2 + (y % 1.0 - 0.5) ** 2 < 0.07
    elif pattern == "checked":
        mask = ((x * 1.4) % 1.0 < 0.5) ^ ((y * 1.4) % 1.0 < 0.5)
    else:
        mask = np.zeros((side, side), bool)
    return np.where(mask[..., None], other, base)


def draw_thing(
    name: str, colour: str, pattern: str, size: int, degrees: float, flip: bool, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one thing in a square frame.

    Args:
        name: a key of ``PARTS``.
        colour: a key of ``COLOURS``.
        pattern: one of ``PATTERNS``.
        size: side of the frame in pixels.
        degrees: turn of the thing, clockwise.
        flip: mirror left and right.
        phase: shift of the pattern, in periods, [0, 1).

    Returns:
        RGB (size, size, 3) float32 in [0, 255] and coverage (size, size) float32 in [0, 1].
    """
    side = size * SUPERSAMPLING
    paint = _body_paint(colour, pattern, side, phase)
    rgb = np.zeros((side, side, 3), np.float32)
    alpha = np.zeros((side, side), np.uint8)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, sin], [-sin, cos]], np.float32)
    reach = side / 2 * 0.9 / (abs(cos) + 0.35 * abs(sin))
    for ink, points in PARTS[name]:
        unit = np.asarray(points, np.float32) * ((-1, 1) if flip else (1, 1))
        corners = np.round(unit @ turn * reach + side / 2).astype(np.int32)
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [corners], 1)
        where = mask.astype(bool)
        if ink == "body":
            rgb[where] = paint[where]
        elif ink == "shade":
            rgb[where] = np.where(alpha[where][:, None] > 0, rgb[where], paint[where]) * 0.68
        elif ink == "light":
            rgb[where] = rgb[where] * 0.5 + 127.0
        else:
            rgb[where] = INKS[ink]
        alpha |= mask
    rim = cv2.dilate(alpha, np.ones((3, 3), np.uint8), iterations=max(1, size // 32))
    rgb[(rim > 0) & (alpha == 0)] = INKS["dark"]
    coverage = cv2.resize(rim.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    weighted = cv2.resize(rgb * rim[..., None], (size, size), interpolation=cv2.INTER_AREA)
    return weighted / np.maximum(coverage, 1e-3)[..., None], coverage
