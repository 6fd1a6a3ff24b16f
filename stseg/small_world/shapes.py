"""The things of the small world: a table of outlines and inner parts.

Every thing has an outline AND parts of its own (eyes, windows, scales), because real objects are
known by both; its body takes any colour and any pattern, so neither gives the class away.
A part is ``(ink, points)`` in a unit frame, x right and y down, both in [-1, 1]. The ink "body" is
the free colour and pattern; "shade" and "light" change the tone of what is below; the rest are
fixed.
"""

from __future__ import annotations

import math

INKS = {
    "dark": (40, 36, 46),
    "cream": (252, 242, 216),
    "brown": (124, 82, 50),
    "leaf": (60, 120, 56),
    "steel": (150, 158, 172),
    "glass": (170, 220, 246),
    "gold": (240, 188, 56),
    "rosy": (236, 128, 142),
}
Points = list[tuple[float, float]]
Part = tuple[str, Points]


def _oval(
    cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0
) -> Points:
    angles = [math.radians(start + (stop - start) * i / 24) for i in range(25)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _stroke(x0: float, y0: float, x1: float, y1: float, width: float = 0.08) -> Points:
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (y1 - y0) / length * width / 2, (x0 - x1) / length * width / 2
    return [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)]


def _spikes(count: int, outer: float, inner: float) -> Points:
    radii = (outer, inner)
    angles = [math.pi * i / count - math.pi / 2 for i in range(2 * count)]
    return [(radii[i % 2] * math.cos(a), radii[i % 2] * math.sin(a)) for i, a in enumerate(angles)]


def _heart(scale: float) -> Points:
    points = []
    for i in range(40):
        a = 2 * math.pi * i / 40
        y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        points.append((scale * math.sin(a) ** 3, -scale * (y + 2) / 15))
    return points


def _star_parts() -> list[Part]:
    rim = _spikes(5, 1.0, 0.45)
    facets = [("shade", [(0.0, 0.0), rim[2 * i], rim[2 * i + 1]]) for i in range(5)]
    return [("body", rim), *facets, ("gold", _oval(0, 0, 0.16, 0.16))]


def _fish_parts() -> list[Part]:
    scales = [
        ("dark", _stroke(x, y, x + s * 0.12, y + 0.14, 0.05))
        for x in (-0.2, 0.05, 0.3)
        for y in (-0.3, 0.0, 0.28)
        for s in (1, -1)
    ]
    return [
        ("body", [(0.45, 0.0), (1.0, -0.55), (0.85, 0.0), (1.0, 0.55)]),
        ("shade", [(0.6, 0.0), (1.0, -0.55), (0.85, 0.0), (1.0, 0.55)]),
        ("shade", [(-0.2, -0.45), (0.15, -0.85), (0.35, -0.4)]),
        ("body", _oval(-0.2, 0.0, 0.8, 0.52)),
        *scales,
        ("cream", _oval(-0.62, -0.1, 0.17, 0.17)),
        ("dark", _oval(-0.65, -0.1, 0.08, 0.08)),
        ("rosy", [(-1.0, 0.05), (-0.72, 0.12), (-0.9, 0.24)]),
    ]


def _flower_parts() -> list[Part]:
    petals = [
        ("body", _oval(0.46 * math.cos(a), -0.3 + 0.46 * math.sin(a), 0.28, 0.28))
        for a in (math.pi * i / 3 for i in range(6))
    ]
    seeds = [
        ("brown", _oval(0.12 * math.cos(i * 2.1), -0.3 + 0.12 * math.sin(i * 2.1), 0.05, 0.05))
        for i in range(3)
    ]
    return [
        ("leaf", _stroke(0, -0.2, 0, 1.0, 0.12)),
        ("leaf", _oval(0.3, 0.68, 0.3, 0.13)),
        ("leaf", _oval(-0.3, 0.8, 0.3, 0.13)),
        *petals,
        ("gold", _oval(0, -0.3, 0.27, 0.27)),
        *seeds,
    ]


def _clock_parts() -> list[Part]:
    turns = [math.pi * i / 6 for i in range(12)]
    ticks = [
        (
            "dark",
            _stroke(
                0.55 * math.cos(a), 0.55 * math.sin(a), 0.7 * math.cos(a), 0.7 * math.sin(a), 0.07
            ),
        )
        for a in turns
    ]
    return [
        ("brown", _stroke(-0.6, 0.6, -0.8, 1.0, 0.2)),
        ("brown", _stroke(0.6, 0.6, 0.8, 1.0, 0.2)),
        ("body", _oval(0, 0, 0.95, 0.95)),
        ("cream", _oval(0, 0, 0.74, 0.74)),
        *ticks,
        ("dark", _stroke(0, 0.08, 0, -0.5, 0.1)),
        ("rosy", _stroke(-0.05, 0, 0.4, 0.15, 0.1)),
    ]


def _mirrored(parts: list[Part]) -> list[Part]:
    return parts + [(ink, [(-x, y) for x, y in points]) for ink, points in parts]


PARTS: dict[str, list[Part]] = {
    "star": _star_parts(),
    "heart": [
        ("body", _heart(0.98)),
        ("cream", _heart(0.66)),
        ("body", _heart(0.5)),
        ("rosy", _heart(0.24)),
    ],
    "tree": [
        ("brown", _box(-0.13, 0.5, 0.13, 1.0)),
        ("body", [(0, -0.05), (0.85, 0.65), (-0.85, 0.65)]),
        ("shade", [(0, 0.3), (0.85, 0.65), (-0.85, 0.65)]),
        ("body", [(0, -0.5), (0.65, 0.2), (-0.65, 0.2)]),
        ("shade", [(0, -0.1), (0.65, 0.2), (-0.65, 0.2)]),
        ("body", [(0, -1.0), (0.45, -0.25), (-0.45, -0.25)]),
        *[("gold", _oval(x, y, 0.09, 0.09)) for x, y in ((-0.3, 0.05), (0.25, 0.0), (0.0, -0.45))],
        *[("gold", _oval(x, y, 0.09, 0.09)) for x, y in ((-0.5, 0.52), (0.05, 0.42), (0.5, 0.52))],
    ],
    "house": [
        ("body", _box(-0.75, -0.15, 0.75, 0.95)),
        ("brown", [(0, -0.98), (0.98, -0.1), (-0.98, -0.1)]),
        ("cream", _stroke(-0.55, -0.28, 0.55, -0.28, 0.07)),
        ("cream", _stroke(-0.3, -0.52, 0.3, -0.52, 0.07)),
        *[("cream", _box(x - 0.22, 0.1, x + 0.22, 0.5)) for x in (-0.42, 0.42)],
        *[("glass", _box(x - 0.16, 0.15, x + 0.16, 0.45)) for x in (-0.42, 0.42)],
        *[("cream", _stroke(x, 0.1, x, 0.5, 0.06)) for x in (-0.42, 0.42)],
        ("brown", _box(-0.15, 0.45, 0.15, 0.95)),
        ("gold", _oval(0.07, 0.7, 0.05, 0.05)),
    ],
    "fish": _fish_parts(),
    "car": [
        ("body", [(-0.55, -0.1), (-0.35, -0.55), (0.3, -0.55), (0.6, -0.1)]),
        ("glass", [(-0.43, -0.1), (-0.29, -0.45), (-0.05, -0.45), (-0.05, -0.1)]),
        ("glass", [(0.05, -0.1), (0.05, -0.45), (0.26, -0.45), (0.46, -0.1)]),
        ("body", [(-1, 0), (-0.9, -0.12), (0.85, -0.12), (1, 0.05), (1, 0.4), (-1, 0.4)]),
        ("gold", _oval(0.93, 0.08, 0.09, 0.09)),
        *[("dark", _oval(x, 0.42, 0.27, 0.27)) for x in (-0.52, 0.52)],
        *[("steel", _oval(x, 0.42, 0.14, 0.14)) for x in (-0.52, 0.52)],
    ],
    "boat": [
        ("brown", _box(-0.06, -1.0, 0.06, 0.4)),
        ("cream", [(0.1, -0.92), (0.85, 0.18), (0.1, 0.18)]),
        ("cream", [(-0.1, -0.7), (-0.7, 0.18), (-0.1, 0.18)]),
        ("steel", _stroke(0.1, -0.35, 0.46, -0.4, 0.06)),
        ("steel", _stroke(0.1, -0.05, 0.7, -0.05, 0.06)),
        ("body", [(-1, 0.32), (1, 0.32), (0.65, 0.85), (-0.65, 0.85)]),
        ("dark", _stroke(-0.98, 0.36, 0.98, 0.36, 0.08)),
        *[("glass", _oval(x, 0.58, 0.09, 0.09)) for x in (-0.4, 0.0, 0.4)],
    ],
    "cup": [
        ("body", _oval(0.6, 0.15, 0.38, 0.38)),
        ("steel", _oval(0.6, 0.15, 0.2, 0.2)),
        ("body", [(-0.8, -0.5), (0.55, -0.5), (0.42, 0.85), (-0.67, 0.85)]),
        ("cream", [(-0.74, 0.05), (0.5, 0.05), (0.47, 0.35), (-0.71, 0.35)]),
        ("cream", _oval(-0.125, -0.5, 0.68, 0.22)),
        ("brown", _oval(-0.125, -0.48, 0.55, 0.14)),
    ],
    "flower": _flower_parts(),
    "mushroom": [
        ("cream", [(-0.28, 0.0), (0.28, 0.0), (0.36, 0.95), (-0.36, 0.95)]),
        *[("brown", _stroke(x, 0.15, x, 0.55, 0.05)) for x in (-0.16, 0.0, 0.16)],
        ("body", _oval(0, 0.1, 0.98, 1.0, 180, 360)),
        ("brown", _oval(0, 0.1, 0.98, 0.14, 0, 180)),
        *[("cream", _oval(x, y, 0.15, 0.13)) for x, y in ((-0.55, -0.2), (0.5, -0.25), (0, -0.6))],
        ("cream", _oval(-0.02, -0.12, 0.12, 0.1)),
    ],
    "moon": [
        (
            "body",
            _oval(0.15, 0, 0.95, 0.98, 50, 310) + _oval(0.5, 0, 0.62, 0.76, 275, 85),
        ),
        *[("shade", _oval(x, y, r, r)) for x, y, r in ((-0.35, -0.5, 0.15), (-0.3, 0.55, 0.17))],
        *[("light", _oval(x, y, r, r)) for x, y, r in ((-0.33, -0.47, 0.08), (-0.27, 0.58, 0.1))],
        ("cream", _oval(-0.42, -0.08, 0.14, 0.1)),
        ("dark", _oval(-0.38, -0.08, 0.06, 0.08)),
        ("shade", _oval(-0.55, 0.25, 0.1, 0.1)),
    ],
    "umbrella": [
        ("steel", _stroke(0, -1.0, 0, 0.85, 0.1)),
        ("steel", _stroke(0, 0.88, 0.3, 0.88, 0.14)),
        ("steel", _stroke(0.27, 0.9, 0.27, 0.65, 0.1)),
        ("body", _oval(0, 0.05, 1.0, 0.95, 180, 360)),
        ("shade", _oval(0, 0.05, 0.36, 0.95, 180, 360)),
        *[("dark", _oval(x, 0.08, 0.32, 0.16, 180, 360)) for x in (-0.66, 0.0, 0.66)],
        *[("dark", _stroke(x, 0.0, 0.0, -0.9, 0.05)) for x in (-0.98, -0.34, 0.34, 0.98)],
    ],
    "bell": [
        ("steel", _oval(0, -0.85, 0.16, 0.15)),
        ("dark", _oval(0, 0.75, 0.2, 0.22)),
        (
            "body",
            [(-0.2, -0.75), (0.2, -0.75), (0.48, -0.4), (0.55, 0.2), (0.9, 0.65)]
            + [(-0.9, 0.65), (-0.55, 0.2), (-0.48, -0.4)],
        ),
        ("gold", [(-0.56, 0.2), (0.56, 0.2), (0.66, 0.36), (-0.66, 0.36)]),
        ("light", [(-0.36, -0.4), (-0.22, -0.45), (-0.3, 0.1), (-0.44, 0.1)]),
        ("dark", _stroke(-0.88, 0.62, 0.88, 0.62, 0.1)),
    ],
    "cat": [
        *_mirrored([("body", [(-0.85, -0.95), (-0.85, 0.0), (-0.2, -0.55)])]),
        *_mirrored([("rosy", [(-0.73, -0.7), (-0.72, -0.25), (-0.42, -0.5)])]),
        ("body", _oval(0, 0.12, 0.9, 0.8)),
        *_mirrored([("gold", _oval(-0.38, -0.02, 0.22, 0.17))]),
        *_mirrored([("dark", _oval(-0.38, -0.02, 0.07, 0.17))]),
        ("cream", _oval(0, 0.5, 0.38, 0.27)),
        ("rosy", [(-0.13, 0.28), (0.13, 0.28), (0, 0.44)]),
        *_mirrored([("dark", _stroke(-0.3, 0.46, -0.85, 0.38, 0.04))]),
        *_mirrored([("dark", _stroke(-0.3, 0.56, -0.8, 0.62, 0.04))]),
        ("dark", _stroke(0, 0.44, 0, 0.62, 0.05)),
    ],
    "clock": _clock_parts(),
    "kite": [
        ("rosy", _stroke(0, 0.45, 0.35, 1.0, 0.06)),
        ("rosy", [(0.02, 0.6), (0.3, 0.72), (0.05, 0.78), (0.28, 0.6)]),
        ("rosy", [(0.18, 0.82), (0.46, 0.92), (0.2, 1.0), (0.44, 0.82)]),
        ("body", [(0, -1.0), (0.72, -0.3), (0, 0.55), (-0.72, -0.3)]),
        ("shade", [(0, -1.0), (0.72, -0.3), (0, -0.3)]),
        ("shade", [(0, 0.55), (-0.72, -0.3), (0, -0.3)]),
        ("cream", _stroke(0, -1.0, 0, 0.55, 0.08)),
        ("cream", _stroke(-0.72, -0.3, 0.72, -0.3, 0.08)),
    ],
    "cactus": [
        ("body", _box(-0.85, -0.35, -0.55, 0.25)),
        ("body", _box(-0.85, 0.0, 0.0, 0.28)),
        ("body", _box(0.55, -0.6, 0.85, 0.05)),
        ("body", _box(0.0, -0.2, 0.85, 0.08)),
        ("body", _oval(0, -0.72, 0.3, 0.27)),
        ("body", _box(-0.3, -0.72, 0.3, 0.6)),
        *[
            ("cream", _stroke(x, y, x - 0.1, y - 0.14, 0.05))
            for x, y in _box(-0.1, -0.6, 0.18, 0.3)
        ],
        *[
            ("cream", _stroke(x, y, x + 0.1, y - 0.14, 0.05))
            for x, y in _box(-0.1, -0.6, 0.18, 0.3)
        ],
        *[
            ("cream", _stroke(x, y, x, y - 0.18, 0.05))
            for x, y in ((-0.7, 0), (0.7, -0.2), (0, -0.1))
        ],
        ("brown", [(-0.5, 0.5), (0.5, 0.5), (0.36, 1.0), (-0.36, 1.0)]),
        ("cream", _stroke(-0.45, 0.62, 0.45, 0.62, 0.06)),
    ],
    "crown": [
        (
            "body",
            [(-0.95, -0.6), (-0.45, 0.0), (0, -0.85), (0.45, 0.0), (0.95, -0.6), (0.75, 0.7)]
            + [(-0.75, 0.7)],
        ),
        *[("gold", _oval(x, y, 0.13, 0.13)) for x, y in ((-0.9, -0.6), (0, -0.82), (0.9, -0.6))],
        ("gold", [(-0.8, 0.4), (0.8, 0.4), (0.75, 0.75), (-0.75, 0.75)]),
        *[("rosy", _oval(x, 0.57, 0.1, 0.1)) for x in (-0.5, 0.5)],
        ("glass", [(0, 0.4), (0.14, 0.57), (0, 0.74), (-0.14, 0.57)]),
        ("glass", [(0, -0.2), (0.15, 0.05), (0, 0.3), (-0.15, 0.05)]),
    ],
    "rocket": [
        ("gold", [(-0.25, 0.6), (0.25, 0.6), (0, 1.0)]),
        ("brown", [(-0.3, 0.1), (-0.75, 0.75), (-0.28, 0.6)]),
        ("brown", [(0.3, 0.1), (0.75, 0.75), (0.28, 0.6)]),
        (
            "body",
            [(0, -1), (0.25, -0.7), (0.38, -0.3), (0.36, 0.3), (0.26, 0.65), (-0.26, 0.65)]
            + [(-0.36, 0.3), (-0.38, -0.3), (-0.25, -0.7)],
        ),
        ("dark", [(0, -1), (0.25, -0.68), (-0.25, -0.68)]),
        ("steel", _oval(0, -0.25, 0.24, 0.24)),
        ("glass", _oval(0, -0.25, 0.16, 0.16)),
        ("steel", _stroke(0, 0.2, 0, 0.75, 0.12)),
    ],
    "butterfly": [
        *_mirrored(
            [("body", _oval(-0.55, -0.4, 0.45, 0.5)), ("body", _oval(-0.45, 0.42, 0.36, 0.4))]
        ),
        *_mirrored(
            [("dark", _oval(-0.58, -0.42, 0.26, 0.28)), ("cream", _oval(-0.58, -0.42, 0.17, 0.18))]
        ),
        *_mirrored(
            [("rosy", _oval(-0.58, -0.42, 0.08, 0.08)), ("cream", _oval(-0.47, 0.44, 0.15, 0.16))]
        ),
        *_mirrored([("dark", _stroke(0, -0.5, -0.25, -0.98, 0.05))]),
        ("dark", _oval(0, 0.0, 0.11, 0.62)),
    ],
    "robot": [
        ("steel", _stroke(0, -1.0, 0, -0.6, 0.08)),
        ("rosy", _oval(0, -0.9, 0.11, 0.1)),
        *_mirrored([("steel", _box(-0.98, -0.15, -0.7, 0.3))]),
        ("body", _box(-0.78, -0.65, 0.78, 0.9)),
        ("steel", _box(-0.62, -0.5, 0.62, 0.1)),
        *_mirrored(
            [("glass", _oval(-0.3, -0.2, 0.19, 0.19)), ("dark", _oval(-0.3, -0.2, 0.08, 0.08))]
        ),
        ("dark", _box(-0.5, 0.32, 0.5, 0.66)),
        *[("cream", _stroke(x, 0.34, x, 0.64, 0.07)) for x in (-0.3, -0.1, 0.1, 0.3)],
    ],
}
