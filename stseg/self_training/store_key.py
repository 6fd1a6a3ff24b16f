"""What a store of pseudo-labels belongs to: weights, vocabulary, settings and images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectron2.config import CfgNode


@dataclass(frozen=True)
class StoreKey:
    """All that pseudo-labels depend on; two runs with one digest may share a folder.

    Images count by file name and size in bytes, in order. A data set that moved to another folder
    keeps its key; a replaced image changes it, unless name and size stay the same.

    Attributes:
        weights: digest of the model that labels, see `stseg.checkpoint.weights_digest`.
        vocabulary: `Vocabulary.key`.
        settings: whatever else decides the result, as JSON can hold it (gate, prompts, veto).
        images: the files, in the order of their indices.
        image_bytes: size of each file.
    """

    weights: str
    vocabulary: str
    settings: Mapping[str, Any]
    images: tuple[Path, ...]
    image_bytes: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.settings), sort_keys=True, allow_nan=False))
        except (TypeError, ValueError) as e:
            raise ValueError(
                f"Pseudo-label settings: expected text, numbers and lists, got {e}."
            ) from e
        if len(self.images) != len(self.image_bytes):
            raise ValueError(
                f"Pseudo-label key: expected one size per image, got {len(self.images)} images "
                f"and {len(self.image_bytes)} sizes."
            )
        object.__setattr__(self, "settings", plain)

    @classmethod
    def of(
        cls,
        *,
        weights: str,
        vocabulary: str,
        settings: Mapping[str, Any],
        images: Sequence[str | PathLike[str]],
    ) -> StoreKey:
        """The key of files on disk.

        Raises:
            FileNotFoundError: if an image is gone.
        """
        paths = tuple(Path(image) for image in images)
        sizes = tuple(path.stat().st_size for path in paths)
        return cls(weights, vocabulary, settings, paths, sizes)

    def describe(self) -> dict[str, Any]:
        """All parts in full, as JSON holds them; folders of images are left out."""
        named = zip(self.images, self.image_bytes, strict=True)
        return {
            "weights": self.weights,
            "vocabulary": self.vocabulary,
            "settings": dict(self.settings),
            "images": [{"name": path.name, "bytes": size} for path, size in named],
        }

    @property
    def digest(self) -> str:
        """SHA-256 of all parts, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


#: Keys of MODEL that no label depends on: where things lie, how fast, how it is trained, and files
#: whose content is in the digests of weights.
INDIFFERENT = (
    "DEVICE",
    "WEIGHTS",
    "PARTIAL_WEIGHTS_ENABLED",
    "LOSS",
    "CLIP.PRETRAINED",
    "CLIP.FINETUNE",
    "CLIP.DROP_PATH",
    "CLIP.GRADIENT_CHECKPOINTING",
    "SAM.CHECKPOINT",
    "TEXT.CACHE_DIR",
    "TEXT.CACHE_GIB",
    "TEXT.CHUNK_SIZE",
    "STSEG.DEA.INIT",
    "STSEG.DEA.PULL_WEIGHT",
    "STSEG.GUIDANCE_DETACHED",
    "SEM_SEG_HEAD.CHUNK_SIZE",
    "SEM_SEG_HEAD.KEPT_MIB",
    "SEM_SEG_HEAD.GRADIENT_CHECKPOINTING",
    "SEM_SEG_HEAD.POOLING_SIZE_TRAIN",
    "SEM_SEG_HEAD.PRIOR_PROB",
)

#: Of the code that labels; another number makes all labels anew.
LABELLING_VERSION = 1


def labelling_keys(cfg: CfgNode) -> dict[str, Any]:
    """All of a config that pseudo-labels depend on, as JSON holds it."""
    st = cfg.SELF_TRAINING
    return {
        "version": LABELLING_VERSION,
        "model": _without(cfg.MODEL, INDIFFERENT),
        "labeler": st.LABELER,
        "gate": _without(st.GATE, ()),
        "refine": _without(st.REFINE, ("BATCH_SIZE",)),
        "label_max_size": st.LABEL_MAX_SIZE,
        "windows": _without(cfg.TEST.SLIDING_WINDOW, ()),
        "input": [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST],
    }


def _without(node: CfgNode, left_out: Sequence[str], path: str = "") -> dict[str, Any]:
    """Values by dotted key, but for some keys or whole sections."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if f"{path}{key}" in left_out:
            continue
        if isinstance(value, dict):
            found |= _without(value, left_out, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found
