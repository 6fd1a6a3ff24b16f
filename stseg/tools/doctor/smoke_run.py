"""One picture segmented, on the CPU and on the GPU: the whole chain, once."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stseg.tools import GOOD, WRONG, Observation
from stseg.tools.doctor.importing import in_a_line

if TYPE_CHECKING:
    import numpy as np

_RIGHT = 0.7  # of the pixels; the miniature is right about nine of ten
_ALIKE = 0.98  # rounding moves a few pixels on borders between classes


class SmokeScene(NamedTuple):
    """A picture with its answer.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) ids into `names`.
        names: of the classes.
        config: of a model that knows them, with weights.
    """

    image: np.ndarray
    label_map: np.ndarray
    names: Sequence[str]
    config: Path


def check_run(scene: SmokeScene, devices: Sequence[str]) -> Iterator[Observation]:
    """Segment a picture on every device, and compare.

    Args:
        scene: to be segmented.
        devices: the first one is what the others are compared with.
    """
    answers: dict[str, np.ndarray] = {}
    for device in devices:
        try:
            answer, seconds = _segment(scene, device)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            cure = "What is wrong above comes first; else report it with this text."
            yield Observation(WRONG, "run", f"on {device}: {in_a_line(error)}", cure)
            continue
        answers[device] = answer
        right = float((answer == scene.label_map).mean())
        yield Observation(
            GOOD if right >= _RIGHT else WRONG,
            "run",
            f"a scene on {device}: {seconds:.2f} s, {right:.1%} of the pixels are right",
            "" if right >= _RIGHT else "Expected 90 %: are assets and configs of one version?",
        )
    first = next(iter(answers), "")
    for device in list(answers)[1:]:
        alike = float((answers[device] == answers[first]).mean())
        yield Observation(
            GOOD if alike >= _ALIKE else WRONG,
            "run",
            f"{device} and {first} give {alike:.2%} of the pixels the same class",
            "" if alike >= _ALIKE else f"Do not trust {device}: update its driver and torch.",
        )


def _segment(scene: SmokeScene, device: str) -> tuple[np.ndarray, float]:
    """(H, W) ids, and the seconds of a second run: the first one warms up."""
    with _quiet():
        from stseg.predictor import Predictor

        predictor = Predictor(str(scene.config), device=device)
        predictor(scene.image, list(scene.names))
        start = time.perf_counter()
        answer = predictor(scene.image, list(scene.names)).label_map
    return answer, time.perf_counter() - start


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries say of themselves while they load is no finding."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
