"""SAM's embeddings of images, kept in a folder: rounds of self-training compute each of them once.

SAM is frozen, so an image has the same embedding in every round, and it costs the most of what
labels an image. Files are exact; labels made with them are those made without.

An entry is known by the pixels that reach SAM's encoder, its weights and its input size, not by the
image's file as in the store of pseudo-labels. That covers all that a file's name would have to be
joined with (the size images are read at, the model's working size, the frame, windows, mirrored
copies of the guard), cannot be wrong when one of them changes, and costs milliseconds. What torch
computes differs in the last digits between versions and devices, so these count as well.

Processes may share a folder. Nothing is ever removed from it: delete it when it is not needed.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from stseg.modeling.encoders import SAMImageEncoder
from stseg.modeling.text import WeightsHash
from stseg.utils import write_atomically

logger = logging.getLogger(__name__)

_CHECKSUM = 32  # bytes before the tensor


class SamFeatures:
    """A folder of embeddings, `<weights>-<input size>/<pixels>.sam`, one file per image."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Use a folder; it is made when first written to.

        Args:
            folder: ~ and $VARIABLES are expanded.
        """
        self.folder = Path(os.path.expandvars(folder)).expanduser()
        self._weights = WeightsHash()
        self._writable = True

    @contextmanager
    def used_by(self, encoder: SAMImageEncoder) -> Iterator[None]:
        """Inside, the encoder computes only what is not in the folder, and adds it.

        Not for the training step, whose crops never come again.

        Args:
            encoder: SAM's, in either frame; images of a batch are looked up one by one.
        """
        folder = self.folder / f"{self._weights.of(encoder.encoder)[:16]}-{encoder.input_size}"
        read, computed = [], []

        def embed(images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
            rows = []
            for image in images.split(1):
                path = folder / f"{pixels_digest(image)}.sam"
                row = _read(path)
                (computed if row is None else read).append(path)
                if row is None:
                    row = encode(image)
                    self._write(path, row)
                rows.append(row.to(image.device))
            return rows[0] if len(rows) == 1 else torch.cat(rows)

        with encoder.asking(embed):
            yield
        if read or computed:
            counts = len(read), len(computed)
            logger.info("SAM: %d embeddings read, %d computed; in %s", *counts, folder)

    def _write(self, path: Path, embedding: Tensor) -> None:
        """Keep an embedding; a folder that cannot be written costs the cache, not the run."""
        if not self._writable:
            return
        content = io.BytesIO()
        torch.save(embedding.detach().cpu(), content)
        payload = content.getvalue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _checksum(payload) + payload)
        except OSError as error:
            self._writable = False  # one warning, not one per image
            logger.warning("SAM cache %s cannot be written (%s); going on without.", path, error)


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


def _read(path: Path) -> Tensor | None:
    """The embedding on the CPU, or None where it is missing or, with a warning, damaged."""
    try:
        content = path.read_bytes()
        checksum, payload = content[:_CHECKSUM], content[_CHECKSUM:]
        if checksum != _checksum(payload):
            raise ValueError("its content is damaged")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        logger.warning("SAM cache %s cannot be used (%s); computing again.", path, error)
        return None
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECKSUM).digest()
