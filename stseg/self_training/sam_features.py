"""SAM's embeddings of images, kept in a folder: rounds of self-training compute each of them once.

SAM is frozen, so an image has the same embedding in every round, and it costs the most of what
labels an image. Files are exact; labels made with them are those made without.

An entry is known by the pixels that reach SAM's encoder, its weights and its input size, not by the
image's file as in the store of pseudo-labels. That covers all that a file's name would have to be
joined with (the size images are read at, the model's working size, the frame, windows, mirrored
copies of the guard), cannot be wrong when one of them changes, and costs milliseconds. What torch
computes differs in the last digits between versions and devices, so these count as well.

Processes may share a folder. Delete it when it is not needed, or give it a limit.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stseg.modeling.encoders import SAMImageEncoder
from stseg.modeling.text import WeightsHash
from stseg.utils import TensorCache

logger = logging.getLogger(__name__)


class SamFeatures:
    """A folder of embeddings, `<weights>-<input size>/<pixels>.tensor`, one file per image."""

    def __init__(self, folder: str | os.PathLike[str], limit: float = 0.0):
        """Use a folder; it is made when first written to.

        Args:
            folder: see `stseg.utils.cache_folder`.
            limit: of the folder, GiB; 0 for none.
        """
        self._files = TensorCache(folder, limit, "SAM")
        self.folder = self._files.folder
        self._weights = WeightsHash()

    @contextmanager
    def used_by(self, encoder: SAMImageEncoder) -> Iterator[None]:
        """Inside, the encoder computes only what is not in the folder, and adds it.

        Not for the training step, whose crops never come again.

        Args:
            encoder: SAM's, in either frame; images of a batch are looked up one by one.
        """
        group = f"{self._weights.of(encoder.encoder)[:16]}-{encoder.input_size}"
        read = computed = 0

        def embed(images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
            nonlocal read, computed
            rows = []
            for image in images.split(1):
                key = pixels_digest(image)
                row = self._files.read(group, key)
                if row is None:
                    row = encode(image)
                    self._files.write(group, key, row)
                    computed += 1
                else:
                    read += 1
                rows.append(row.to(image.device))
            return rows[0] if len(rows) == 1 else torch.cat(rows)

        with encoder.asking(embed):
            yield
        if read or computed:
            logger.info(
                "SAM: %d embeddings read, %d computed; in %s", read, computed, self.folder / group
            )


def pixels_digest(image: Tensor) -> str:
    """What an embedding is known by within a folder: 40 hexadecimal digits.

    Args:
        image: (1, 3, S, S) as SAM's encoder gets it, of any type, on any device.
    """
    kind = [torch.__version__, image.device.type, str(image.dtype), list(image.shape)]
    digest = hashlib.blake2b(json.dumps(kind).encode(), digest_size=20)
    flat = image.detach().cpu().contiguous().reshape(-1)
    digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
