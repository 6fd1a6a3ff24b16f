"""PGSeg's own keys (Zhang et al., NeurIPS 2023), read where `PGSeg` is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.rules import (
    NOT_NEGATIVE,
    SHARE,
    SHARE_BELOW_1,
    SIZE,
    WHOLE_FROM_1,
    Rule,
    each,
    one_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_COUNTS = "whole numbers from 1"

RULES = {
    "MODEL.PGSEG.IMAGE_SIZE": SIZE,
    "MODEL.PGSEG.IMAGE_SIZE_TEST": SIZE,
    "MODEL.PGSEG.PATCH_SIZE": WHOLE_FROM_1,
    "MODEL.PGSEG.WIDTH": WHOLE_FROM_1,
    "MODEL.PGSEG.DEPTHS": each(WHOLE_FROM_1, f"three {_COUNTS}", count=3),
    "MODEL.PGSEG.NUM_HEADS": WHOLE_FROM_1,
    "MODEL.PGSEG.NUM_GROUPS": each(WHOLE_FROM_1, f"two {_COUNTS}", count=2),
    "MODEL.PGSEG.DROP_PATH": SHARE_BELOW_1,
    "MODEL.PGSEG.EMBED_DIM": WHOLE_FROM_1,
    "MODEL.PGSEG.HIDDEN_DIM": WHOLE_FROM_1,
    "MODEL.PGSEG.TEXT.WIDTH": WHOLE_FROM_1,
    "MODEL.PGSEG.TEXT.LAYERS": WHOLE_FROM_1,
    "MODEL.PGSEG.TEXT.NUM_HEADS": WHOLE_FROM_1,
    "MODEL.PGSEG.TEXT.CONTEXT_LENGTH": Rule(
        "a whole number from 3 to 77", lambda value: value == int(value) and 3 <= value <= 77
    ),
    "MODEL.PGSEG.PROTOTYPES.FORM": one_of(("intended", "released")),
    "MODEL.PGSEG.PROTOTYPES.IMAGE_WEIGHT": NOT_NEGATIVE,
    "MODEL.PGSEG.PROTOTYPES.TEXT_WEIGHT": NOT_NEGATIVE,
    "MODEL.PGSEG.KEPT_CLASSES": WHOLE_FROM_1,
    "MODEL.PGSEG.REST_THRESH": Rule(
        "a number in [0, 1], or -1 for the published ones", lambda x: x == -1 or 0 <= x <= 1
    ),
    "MODEL.PGSEG.REST_THRESH_ELSEWHERE": SHARE,
}


def add_pgseg_config(cfg: CfgNode) -> None:
    """Add `MODEL.PGSEG.*`, with the values of the published network, to a config."""
    CN = type(cfg)
    cfg.MODEL.PGSEG = CN()
    own = cfg.MODEL.PGSEG
    # (height, width) in pixels that images, or windows, are resized to: in training, and in
    # evaluation. Multiples of PATCH_SIZE.
    own.IMAGE_SIZE = [224, 224]
    own.IMAGE_SIZE_TEST = [448, 448]
    # Pixels of a patch's side.
    own.PATCH_SIZE = 16
    # Channels of the tokens, blocks of the three stages, heads of their attention.
    own.WIDTH = 384
    own.DEPTHS = [6, 3, 3]
    own.NUM_HEADS = 6
    # Segments after the first stage, and groups after the second: at most so many classes are found
    # in a window.
    own.NUM_GROUPS = [64, 8]
    # Share of dropped blocks in training, rising from 0 to this (stochastic depth).
    own.DROP_PATH = 0.1
    # Channels in which images and texts are compared, and within the two projectors.
    own.EMBED_DIM = 256
    own.HIDDEN_DIM = 4096
    own.TEXT = CN()
    # The text tower, which trains. A caption of more tokens is cut.
    own.TEXT.WIDTH = 256
    own.TEXT.LAYERS = 12
    own.TEXT.NUM_HEADS = 4
    own.TEXT.CONTEXT_LENGTH = 77
    own.PROTOTYPES = CN()
    # Regularisation by prototypes that are not learnt; without it the network is GroupViT's.
    own.PROTOTYPES.ENABLED = True
    # "intended": groups are matched with the prototypes nearest to them, prototypes move in
    # training, texts have prototypes of words. "released": as the published weights were trained,
    # with the least similar, prototypes that stay, and scalars of texts, which teach nothing.
    own.PROTOTYPES.FORM = "intended"
    # Weights of the losses, of each stage of the image and of the text; 0 = none.
    own.PROTOTYPES.IMAGE_WEIGHT = 0.1
    own.PROTOTYPES.TEXT_WEIGHT = 0.01
    # Classes that a window may show: those nearest to its image vector.
    own.KEPT_CLASSES = 5
    # Confidence in [0, 1] below which a group is the class without words (`Vocabulary.rest`). -1:
    # as published for VOC-21, Context-60 and COCO-Object, REST_THRESH_ELSEWHERE for other words.
    own.REST_THRESH = -1.0
    own.REST_THRESH_ELSEWHERE = 0.5
