"""Labels of some classes that are trusted: the zero-shot protocol, whose void others are in.

A pixel of an unseen class in them would be the answer to what is asked, so all label maps are
looked at before anything is labelled or trained (MaskCLIP+, ECCV 2022, asserts the same).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from stseg.data import check_registered, dataset_label_reader, dataset_vocabulary
from stseg.self_training.store_counts import share_of
from stseg.self_training.target import Target
from stseg.structures import IGNORE_LABEL, Vocabulary
from stseg.utils import name_key, phase

_KEY = "SELF_TRAINING.VLM.GROUND_TRUTH"


@dataclass(frozen=True)
class GroundTruth:
    """Label maps by image.

    Attributes:
        files: path of a label map, by `os.path.abspath` of its image.
        read: (H, W) ids of a file, IGNORE_LABEL where void.
        class_ids: for every id of the files the target's.
        digest: of all that they hold, 64 hexadecimal digits.
    """

    files: Mapping[str, str]
    read: Callable[[str], np.ndarray]
    class_ids: tuple[int, ...]
    digest: str = ""

    def of(self, image: str) -> np.ndarray | None:
        """(H, W) int32 class ids of the target, IGNORE_LABEL where void; None without a map."""
        file = self.files.get(os.path.abspath(image))
        return None if file is None else self.read_file(file)

    def read_file(self, file: str) -> np.ndarray:
        """As `of`, of a label map."""
        table = np.array([*self.class_ids, IGNORE_LABEL], np.int32)
        return table[self.read(file)]  # IGNORE_LABEL is -1, the last


@phase("ground truth")
def load_ground_truth(name: str, target: Target) -> GroundTruth:
    """Find and look at the label maps of a target's images; all ranks together, each its share.

    Args:
        name: of a registered data set.
        target: its vocabulary is marked.

    Raises:
        ValueError: if the data set is unknown, has a class that the target has not, or none of its
            images; or if a pixel is of an unseen class: names the file, on every rank.
    """
    check_registered(name, _KEY)
    of_image = {
        os.path.abspath(record["file_name"]): record["sem_seg_file_name"]
        for record in DatasetCatalog.get(name)
        if "sem_seg_file_name" in record
    }
    images = [os.path.abspath(record["file_name"]) for record in target.records]
    files = {image: of_image[image] for image in images if image in of_image}
    if not files:
        raise ValueError(
            f"{_KEY}: expected label maps of some of the {len(images)} images to adapt to, got "
            f"none in {name!r}. Name the data set that these images are of, or '' for none."
        )
    ids = _target_ids(name, target.vocabulary)
    truth = GroundTruth(files, dataset_label_reader(name), ids)
    digests, problem = [], ""
    pairs = list(files.items())
    for k in share_of(len(pairs), comm.get_rank(), comm.get_world_size()):
        image, file = pairs[k]
        labels = truth.read_file(file)
        told = os.path.basename(image).encode("utf-8", "surrogateescape") + labels.tobytes()
        digests.append(hashlib.blake2b(told, digest_size=16).hexdigest())
        if problem := leak(labels, target.vocabulary):
            problem = f"{file}: {problem}"
            break
    found = comm.all_gather((digests, problem))
    for _, problem in found:
        if problem:
            raise ValueError(problem)
    joined = "".join(chain.from_iterable(part for part, _ in found))
    return replace(truth, digest=hashlib.sha256(joined.encode()).hexdigest())


def leak(labels: np.ndarray, vocabulary: Vocabulary) -> str:
    """What is wrong with a label map that has a pixel of an unseen class; "" without one.

    Args:
        labels: (H, W) class ids, IGNORE_LABEL where void.
        vocabulary: T classes; without marks all are unseen.
    """
    pixels = np.bincount(labels[labels != IGNORE_LABEL].ravel(), minlength=len(vocabulary))
    marks = vocabulary.seen or (False,) * len(vocabulary)
    for class_id in np.flatnonzero(pixels).tolist():
        if not marks[class_id]:
            return (
                f"expected no pixel of an unseen class in {_KEY}, got {pixels[class_id]} of "
                f"{vocabulary.names[class_id]!r}, whose labels nobody may see before the test. "
                "Name a data set that leaves it out, such as one of seen classes, or mark the "
                "class as seen by SELF_TRAINING.SOURCE_VOCABULARY."
            )
    return ""


def _target_ids(name: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """The target's id of each class of a data set, by its display name."""
    own = dataset_vocabulary(name).names
    if own == vocabulary.names:
        return tuple(range(len(own)))
    # Display names before synonyms, of equals the first class.
    pairs = [(word, k) for k, word in enumerate(vocabulary.names)]
    pairs += [(word, k) for k, group in enumerate(vocabulary.synonyms) for word in group]
    known = {name_key(word): class_id for word, class_id in reversed(pairs)}
    if missing := [word for word in own if name_key(word) not in known]:
        raise ValueError(
            f"{_KEY}: expected a data set whose classes the target has, too, got {name!r} with "
            f"{missing[0]!r}. Name one of the target's own classes, or add the name."
        )
    return tuple(known[name_key(word)] for word in own)
