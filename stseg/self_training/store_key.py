"""What a store of pseudo-labels belongs to: weights, vocabulary, settings and images."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class StoreKey:
    """All that pseudo-labels depend on; two runs with one digest may share a folder.

    Images count by file name and size in bytes, in order. A data set that moved to another folder
    keeps its key; a replaced image changes it, unless name and size stay the same.

    Attributes:
        weights: digest of the model that labels, see `weights_digest`.
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
    ) -> "StoreKey":
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


def weights_digest(state_dict: Mapping[str, Any]) -> str:
    """SHA-256 of a model's weights: names in order, types, shapes and bytes.

    Args:
        state_dict: tensors of any type on any device; copied to the CPU one by one.

    Raises:
        TypeError: if a value is no tensor.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        value = state_dict[name]
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"Weights digest: expected a tensor as {name!r}, got {type(value)}.")
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        # As bytes, because NumPy has no bfloat16.
        flat = value.detach().to("cpu").contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
