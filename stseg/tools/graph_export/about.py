"""What a program must know of two graphs to make labels with them; it is written into both.

Shapes: T classes, M masks or groups, h x w cells.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from stseg.modeling.meta_arch import OpenVocabSegmentor
from stseg.modeling.scores import CellScores, GroupScores, QueryScores, Scores, SoftmaxScores
from stseg.structures import Vocabulary
from stseg.utils import VERSION

#: Name of the entry in a file's metadata, JSON.
ABOUT = "stseg"
#: (H, W) of an empty picture, where none is asked for.
_TRACED = (64, 96)

#: Reading -> names of what the second graph puts out, and how these become labels.
READINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "sigmoid": (
        ("scores",),
        "scores (1, T, h, w): sigmoid, resize to the picture; the greatest class",
    ),
    "softmax": (
        ("scores",),
        "scores (1, T, h, w): log-softmax over T, resize to the picture; the greatest class",
    ),
    "masks": (
        ("masks", "mask_classes"),
        "masks (1, M, h, w): resize to mask_stride x (h, w), crop to the size of image, resize to "
        "the picture, sigmoid; sum over M of mask x mask_classes (1, M, T); the greatest class",
    ),
    "groups": (
        ("groups", "group_classes"),
        "groups (1, M, h, w): resize to the picture; a pixel has the row of group_classes (1, M, T)"
        " of its greatest group; the greatest class",
    ),
}


@dataclass(frozen=True)
class GraphAbout:
    """The entry `ABOUT` of both files.

    Attributes:
        system: MODEL.META_ARCHITECTURE.
        size: (H, W) of the only pictures that the first graph takes; None for any.
        working_size: (H, W) that the first graph resizes pictures to; None where it does not.
        min_size: pixels that the shorter side of a picture is resized to before (Pillow, bilinear),
            at most until the longer one has `max_size`; 0 for pictures as they are.
        max_size: see there.
        pixel_mean: RGB in [0, 255] that the first graph subtracts, () where encoders differ.
        pixel_std: likewise, that it divides by.
        features: names of what the first graph puts out.
        outputs: of what the second does.
        reading: "sigmoid", "softmax", "masks" or "groups".
        class_axis: of the last output.
        mask_stride: pixels of the network's input per cell of a mask; 0 without masks.
        temperature: of the confidences, see `stseg.modeling.scores.calibrated`.
        labels: how outputs become labels, a sentence.
        resize: what every resize here means.
        picture: what the first graph takes.
        stseg: version that wrote the file.
    """

    system: str
    size: tuple[int, int] | None
    working_size: tuple[int, int] | None
    min_size: int
    max_size: int
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    reading: str
    class_axis: int
    mask_stride: int
    temperature: float
    labels: str
    resize: str = "bilinear, half-pixel centres, no antialiasing"
    picture: str = "image (3, H, W) float32 RGB in [0, 255]"
    stseg: str = VERSION

    def entry(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@torch.no_grad()
def about_graphs(model: nn.Module, cfg: CfgNode, size: tuple[int, int] | None) -> GraphAbout:
    """Look at a model and its answer for an empty picture.

    Args:
        model: in evaluation mode.
        cfg: of the model.
        size: (H, W) that the first graph is to take alone; None for any.

    Raises:
        ValueError: if the system has no such graphs; says why.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if not isinstance(model, OpenVocabSegmentor):
        raise ValueError(
            "MODEL.META_ARCHITECTURE: expected a system that sees pictures and scores words apart "
            f"(OpenVocabSegmentor), got {name}, which is no such system. Choose another config."
        )
    if model.tiles is not None:
        raise ValueError(
            f"TEST.SLIDING_WINDOW.ENABLED: expected False for graphs of {name}, which see a picture"
            " as a whole, got True. Append TEST.SLIDING_WINDOW.ENABLED False."
        )
    if size is None and model.image_size_test is None:
        raise ValueError(
            f"--size: expected the size of the pictures for {name}, which pads every picture and "
            "works at its size: graphs of such a system for any size gave wrong answers, so there "
            "are none. Got none. Append --size H W, such as --size 480 640."
        )
    features = model.encode([torch.zeros(3, *(size or _TRACED), device=model.device)])
    words = Vocabulary.parse("cat; dog; tree")
    (scores,) = model.score(features, model.embed(words), words)
    reading = _reading(scores, name)
    outputs, labels = READINGS[reading]
    mean, std = _statistics(model)
    working_size = None
    if model.image_size_test is not None:
        height, width = model.image_size_test
        working_size = (height, width)
    return GraphAbout(
        system=name,
        size=size,
        working_size=working_size,
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        pixel_mean=mean,
        pixel_std=std,
        features=tuple(features.tensors),
        outputs=outputs,
        reading=reading,
        class_axis=1 if len(outputs) == 1 else 2,
        mask_stride=int(getattr(model, "mask_stride", 0)),
        temperature=model.facts.temperature,
        labels=labels,
    )


def _reading(scores: Scores, system: str) -> str:
    if isinstance(scores, CellScores) and scores.activation is torch.sigmoid:
        return "sigmoid"
    kinds = {SoftmaxScores: "softmax", QueryScores: "masks", GroupScores: "groups"}
    for kind, reading in kinds.items():
        if isinstance(scores, kind):
            return reading
    raise ValueError(
        "MODEL.META_ARCHITECTURE: expected a system whose answer programs can read (cells, masks "
        f"or groups), got {system}, which answers with {type(scores).__name__}. Use "
        "stseg.modeling.meta_arch.export_graphs, and read them as its `score` does."
    )


def _statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels, where all encoders have the same."""
    found = {
        tuple(
            tuple(round(float(x), 6) for x in getattr(part, key).flatten())
            for key in ("pixel_mean", "pixel_std")
        )
        for part in model.modules()
        if hasattr(part, "pixel_mean") and hasattr(part, "pixel_std")
    }
    if len(found) != 1:
        return (), ()
    mean, std = found.pop()
    return mean, std
