"""Pictures and words to answers: pictures are encoded once, words are asked about them again."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stseg.render import class_colours, describe, encode_labels, image_bytes
from stseg.structures import IGNORE_LABEL, Segmentation, Vocabulary
from stseg.tools.prediction import is_about_memory
from stseg.tools.serving.recent_items import RecentItems
from stseg.tools.serving.request_limits import Limits, RefusedError, read_picture, read_words
from stseg.utils import as_bytes

if TYPE_CHECKING:
    from stseg.predictor import KeptImage, Predictor

#: What may be downloaded of an answer, with its type.
FILES = {
    "labels.png": "image/png",
    "overlay.png": "image/png",
    "answer.json": "application/json",
}
#: Bytes of windows' features, of all pictures that are kept.
_FEATURE_BYTES = 1 << 30
#: Requests that downloads may refer to: words only, no pictures.
_KEPT_REQUESTS = 256


@dataclass(frozen=True)
class Asked:
    """What is asked about a picture.

    Attributes:
        vocabulary: with distractors as its background policy, if there are any.
        threshold: pixels of less confidence become unknown; in [0, 1], 0 for none.
    """

    vocabulary: Vocabulary
    threshold: float = 0.0

    @classmethod
    def read(cls, words: str, threshold: float, distractors: str, limits: Limits) -> Asked:
        """Check what a client sent, see `read_words`.

        Raises:
            RefusedError: if a part of it is wrong.
        """
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 0 <= threshold <= 1:  # also refuses NaN
            raise RefusedError(
                f"threshold: expected a confidence in [0, 1], got {str(threshold)[:40]!r}. "
                "0 leaves no pixel unknown."
            )
        return cls(read_words(words, distractors, limits), float(threshold))


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        segmentation: with its picture.
        key: by which files of it can be had for a while.
        notes: what is probably not meant by the words, a sentence each.
    """

    segmentation: Segmentation
    key: str
    notes: tuple[str, ...]

    def table(self) -> dict[str, Any]:
        """Size, meaning of the label PNG, and share and mean confidence of every class."""
        return describe(self.segmentation, "labels.png")

    def file(self, name: str) -> bytes:
        """One of `FILES`."""
        found = self.segmentation
        if name == "labels.png":
            colours = class_colours(found.names)
            return encode_labels(found.label_map, len(found.names), colours)
        if name == "overlay.png":
            return image_bytes(found.overlay(), "PNG")
        return as_bytes(json.dumps(self.table(), indent=2, ensure_ascii=False) + "\n")


class PictureService:
    """Answers requests with one predictor. Not for several threads at once; see `WaitingLine`."""

    def __init__(
        self, predictor: Predictor, limits: Limits | None = None, *, kept_pictures: int = 4
    ) -> None:
        """Keep nothing yet.

        Args:
            predictor: that segments.
            limits: of requests.
            kept_pictures: pictures whose features are kept, from 1: those asked about last.
        """
        self.limits = limits or Limits()
        self._predictor = predictor
        self._kept_bytes = _FEATURE_BYTES // kept_pictures
        self._pictures: RecentItems[KeptImage] = RecentItems(kept_pictures)
        self._requests: RecentItems[tuple[str, Asked]] = RecentItems(_KEPT_REQUESTS)

    def segment(self, content: bytes, asked: Asked) -> Answer:
        """Segment a picture; one whose features are still kept is not encoded again.

        Args:
            content: bytes of its file.
            asked: words and what becomes unknown.

        Raises:
            RefusedError: if the picture cannot be read, or the model does not take the words.
        """
        picture = hashlib.sha256(content).hexdigest()
        with _explained():
            kept = self._pictures.get(picture)
            if kept is None:
                image = read_picture(content, self.limits)
                kept = self._predictor.keep_image(image, self._kept_bytes)
                self._pictures.put(picture, kept)
            found = self._found(kept, asked)
        key = secrets.token_urlsafe(16)
        self._requests.put(key, (picture, asked))
        return Answer(found, key, _notes(asked.vocabulary))

    def again(self, key: str) -> Answer:
        """An earlier answer, found anew: nothing but its words was kept.

        Raises:
            RefusedError: if they, or the features of its picture, are kept no more.
        """
        picture, asked = self._requests.get(key) or ("", None)
        kept = self._pictures.get(picture)
        if kept is None or asked is None:
            raise RefusedError(
                f"Answer: expected one that is kept, got {key[:40]!r}, which is none or was too "
                "long ago. Segment the picture again.",
                status=404,
            )
        with _explained():
            return Answer(self._found(kept, asked), key, ())

    def _found(self, kept: KeptImage, asked: Asked) -> Segmentation:
        found = self._predictor.predict(asked.vocabulary, kept)
        if not asked.threshold:
            return found
        unsure = found.confidence < asked.threshold
        return replace(found, label_map=np.where(unsure, IGNORE_LABEL, found.label_map))


def _notes(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Those of the vocabulary; of a lone name they tell whether there is such a file, so none."""
    alone = sum(map(len, vocabulary.synonyms)) == 1
    return () if alone else tuple(vocabulary.notes())


@contextmanager
def _explained() -> Iterator[None]:
    """Say in a refusal what a model does not take, and that a picture needs too much memory."""
    try:
        yield
    except RefusedError:
        raise
    except ValueError as error:
        if ": expected " not in str(error):
            raise
        raise RefusedError(error) from error
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or is_about_memory(error)):
            raise
        raise RefusedError(
            "Picture: expected one that the server has memory for, got a larger one. Send a "
            "smaller copy, or fewer words.",
            status=413,
        ) from error
