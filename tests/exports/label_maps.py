"""Label maps with all that makes outlines hard, and names that make text hard."""

import numpy as np

from stseg.exports import LabelledImage

NAMES = ("cat, kitten", "a \"quoted\" <b> & 'name'", "Kötér 猫", "rug", "plain")


def label_maps() -> dict[str, np.ndarray]:
    """By file name, (H, W) int32."""
    rings = np.full((17, 19), -1)
    for k in range(4):
        rings[k * 2 : 17 - k * 2, k * 2 : 19 - k * 2] = (0, 1, 0, -1)[k]
    touching = np.full((12, 14), 2)
    touching[2:10, 2:12] = np.indices((8, 10)).sum(axis=0) % 2  # pixels that meet at corners
    touching[0, 0], touching[11, 13], touching[5, :] = 3, 3, 4  # single pixels, a line
    touching[:, 7] = -1
    noise = np.random.default_rng(0).integers(-1, 3, (23, 31))
    sieve = np.zeros((15, 40), dtype=int)
    sieve[1:-1:2, 1:-1:2] = -1
    whole = np.full((5, 9), 3)
    nothing, pixel = np.full((3, 4), -1), np.array([[1]])
    maps = [rings, touching, noise, sieve, whole, nothing, pixel]
    return {f"photos/{k} ä.jpg": labels.astype(np.int32) for k, labels in enumerate(maps)}


def results() -> list[LabelledImage]:
    """All of them, to be exported."""
    return [LabelledImage(name, labels, NAMES) for name, labels in label_maps().items()]
