"""What a store of pseudo-labels belongs to: weights, vocabulary, settings and images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stseg.config import leaves

if TYPE_CHECKING:
    from detectron2.config import CfgNode


@dataclass(frozen=True)
class StoreKey:
    """All that pseudo-labels depend on; two runs with one digest may share a folder.

    Images count by file name and content, in order. A data set that moved to another folder, or
    was copied with new dates, keeps its key; a replaced image changes it, whatever its name, size
    and date. To read a file costs a thousandth of what it costs to label it.

    Attributes:
        weights: digest of the model that labels, see `stseg.checkpoint.weights_digest`.
        vocabulary: `Vocabulary.key`.
        settings: whatever else decides the result, as JSON can hold it (gate, prompts, veto).
        images: the files, in the order of their indices.
        image_digests: of each file's content, see `image_digests`.
    """

    weights: str
    vocabulary: str
    settings: Mapping[str, Any]
    images: tuple[Path, ...]
    image_digests: tuple[str, ...]

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.settings), sort_keys=True, allow_nan=False))
        except (TypeError, ValueError) as e:
            raise ValueError(
                f"Pseudo-label settings: expected text, numbers and lists, got {e}."
            ) from e
        if len(self.images) != len(self.image_digests):
            raise ValueError(
                f"Pseudo-label key: expected one digest per image, got {len(self.images)} images "
                f"and {len(self.image_digests)} digests."
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
        """The key of files on disk, each of which is read.

        Raises:
            FileNotFoundError: if an image is gone.
        """
        paths = tuple(Path(image) for image in images)
        return cls(weights, vocabulary, settings, paths, tuple(image_digests(paths)))

    def describe(self) -> dict[str, Any]:
        """All parts in full, as JSON holds them; folders of images are left out."""
        named = zip(self.images, self.image_digests, strict=True)
        return {
            "weights": self.weights,
            "vocabulary": self.vocabulary,
            "settings": dict(self.settings),
            "images": [{"name": path.name, "content": digest} for path, digest in named],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all parts, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


def image_digests(images: Iterable[str | PathLike[str]]) -> list[str]:
    """What files hold, each as 32 hexadecimal digits.

    Raises:
        FileNotFoundError: if one is gone.
    """
    return [hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest() for path in images]


#: Keys and sections that no label depends on, reviewed one by one. Every other key of a config
#: makes other labels, those of systems, labelers and mappers of others among them. Of VLM.WEIGHTED
#: the labeler that reads it tells.
INDIFFERENT = frozenset(
    """
    VERSION OUTPUT_DIR SEED CUDNN_BENCHMARK VIS_PERIOD GLOBAL DATALOADER SOLVER DATASETS
    INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN_SAMPLING INPUT.MAX_SIZE_TRAIN INPUT.RANDOM_FLIP
    INPUT.CROP INPUT.COLOR_AUG_SSD INPUT.BLUR_SIGMA INPUT.NOISE_STD INPUT.MASK_FORMAT
    INPUT.CAPTION_MAPPER_NAME
    MODEL.DEVICE MODEL.WEIGHTS MODEL.PARTIAL_WEIGHTS_ENABLED MODEL.LOSS.IGNORED
    MODEL.CLIP.PRETRAINED MODEL.CLIP.FINETUNE MODEL.CLIP.DROP_PATH
    MODEL.CLIP.GRADIENT_CHECKPOINTING MODEL.SAM.CHECKPOINT
    MODEL.TEXT.CACHE_DIR MODEL.TEXT.CACHE_GIB MODEL.TEXT.CHUNK_SIZE
    MODEL.STSEG.DEA.INIT MODEL.STSEG.DEA.PULL_WEIGHT
    MODEL.STSEG.GUIDANCE_DETACHED MODEL.EBSEG.POSITIONS_TRAINED MODEL.EBSEG.SSC_WEIGHT
    MODEL.CEL.LOSSES MODEL.CEL.NUM_POINTS MODEL.CEL.ABSENT
    MODEL.SEM_SEG_HEAD.CHUNK_SIZE MODEL.SEM_SEG_HEAD.KEPT_MIB
    MODEL.SEM_SEG_HEAD.GRADIENT_CHECKPOINTING MODEL.SEM_SEG_HEAD.POOLING_SIZE_TRAIN
    MODEL.SEM_SEG_HEAD.PRIOR_PROB
    TEST.EXPECTED_RESULTS TEST.EVAL_PERIOD TEST.EVALUATOR TEST.BEST_METRIC TEST.PICTURES
    SELF_TRAINING.ENABLED SELF_TRAINING.ALPHA SELF_TRAINING.SOURCE_VOCABULARY
    SELF_TRAINING.ROUNDS SELF_TRAINING.ROUND_ITERS SELF_TRAINING.ROUND_WARMUP
    SELF_TRAINING.IMAGES SELF_TRAINING.VOCABULARY
    SELF_TRAINING.SAM_CACHE_DIR SELF_TRAINING.SAM_CACHE_GIB SELF_TRAINING.VETO_FILE
    SELF_TRAINING.PREVIEW SELF_TRAINING.BALANCED_SAMPLING SELF_TRAINING.ONLINE
    SELF_TRAINING.SOURCE SELF_TRAINING.GUARD SELF_TRAINING.REFINE.BATCH_SIZE
    SELF_TRAINING.VLM.BATCH_SIZE SELF_TRAINING.VLM.WEIGHTED
    """.split()
)

#: Of the code that labels: who changes what it makes of the same model and image counts one up.
LABELLING_VERSION = 3


#: In a section above, and yet a label depends on it: what a GPU multiplies matrices in.
_DECIDING = frozenset(["SOLVER.MATMUL_PRECISION"])


def labelling_keys(cfg: CfgNode) -> dict[str, Any]:
    """All of a config that pseudo-labels depend on, as JSON holds it; see `INDIFFERENT`.

    Files that keys name (weights, SAM, images, names, vetoes) count by what they hold, elsewhere in
    the key; DATASETS by the target's name and images. What torch computes may differ in the last
    digits between devices, batches and versions of torch: that makes no labels anew.
    """
    deciding = {key: value for key, value in leaves(cfg) if not _is_indifferent(key)}
    return {"version": LABELLING_VERSION, **deciding}


def _is_indifferent(key: str) -> bool:
    parts = key.split(".")
    sections = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return key not in _DECIDING and not sections.isdisjoint(INDIFFERENT)
