"""CEL's own keys (Dao et al., IEEE TMM 2024); all but the abstract is ours, values too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.mask_head_keys import add_mask_head_config, mask_head_rules
from stseg.config.rules import NOT_NEGATIVE, POSITIVE, SHARE, WHOLE_FROM_1, Rule, one_of

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RULES = {
    **mask_head_rules("MODEL.CEL"),
    "MODEL.CEL.TEMPERATURE": POSITIVE,
    "MODEL.CEL.NUM_POINTS": WHOLE_FROM_1,
    "MODEL.CEL.BIAS": Rule("a cosine in [-1, 1]", lambda value: -1 <= value <= 1),
    "MODEL.CEL.SOFTNESS": POSITIVE,
    "MODEL.CEL.SEEN_OFFSET": NOT_NEGATIVE,
    "MODEL.CEL.POOLED.SEEN": SHARE,
    "MODEL.CEL.POOLED.OTHERS": SHARE,
    "MODEL.CEL.ABSENT": one_of(("auto", "all", "seen", "none")),
    "MODEL.CEL.BACKGROUND.WEIGHT": POSITIVE,
    "MODEL.CEL.LOSSES.MATCHED_WEIGHT": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.PRESENCE_WEIGHT": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.ABSENT_WEIGHT": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.RANK_LIST_WEIGHT": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.RANK_PAIRS_WEIGHT": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.RANK_TEMPERATURE": POSITIVE,
    "MODEL.CEL.LOSSES.RANK_NEIGHBOURS": WHOLE_FROM_1,
    "MODEL.CEL.LOSSES.RANK_GAP": NOT_NEGATIVE,
    "MODEL.CEL.LOSSES.RANK_SHARE": SHARE,
}


def add_cel_config(cfg: CfgNode) -> None:
    """Add `MODEL.CEL.*` to a config."""
    CN = type(cfg)
    cfg.MODEL.CEL = CN()
    add_mask_head_config(cfg.MODEL.CEL)
    # What cosines of queries and words are divided by before a softmax (ZegFormer: 0.01).
    cfg.MODEL.CEL.TEMPERATURE = 0.01
    # Points at which masks are compared in training (Mask2Former: 12544), fewer for small images.
    cfg.MODEL.CEL.NUM_POINTS = 12544
    # Where a proposal shows a class rather than junk: first value of the cosine, which is learnt
    # then, and how much above it makes sure.
    cfg.MODEL.CEL.BIAS = 0.2
    cfg.MODEL.CEL.SOFTNESS = 0.05
    # Calibration: taken off cosines of classes that had labels in training, in evaluation.
    cfg.MODEL.CEL.SEEN_OFFSET = 0.0
    # Frozen CLIP's cells in a proposal's mask name it, too, in evaluation: weights in [0, 1] in a
    # geometric mean, of classes that had labels in training and of OTHERS (FC-CLIP, NeurIPS 2023:
    # 0.4 and 0.8); 0 and 0 leave it out.
    cfg.MODEL.CEL.POOLED = CN()
    cfg.MODEL.CEL.POOLED.SEEN = 0.4
    cfg.MODEL.CEL.POOLED.OTHERS = 0.8
    # Which classes without a label in a training image are nowhere in it: "all", "seen" (those of
    # the marks of the vocabulary: others may be unlabelled), "none", or "auto": with
    # MODEL.LOSS.IGNORED "masked" none, as labels are not whole then, else all.
    cfg.MODEL.CEL.ABSENT = "auto"
    cfg.MODEL.CEL.BACKGROUND = CN()
    # What CEL argues against: a learnt vector beside the names that all proposals without a pair
    # are trained towards, with this weight; of the losses below it has MATCHED alone.
    cfg.MODEL.CEL.BACKGROUND.ENABLED = False
    cfg.MODEL.CEL.BACKGROUND.WEIGHT = 0.1
    cfg.MODEL.CEL.LOSSES = CN()
    # Weights of losses, 0 = none. Cross entropy of queries that have a mask, among real classes.
    cfg.MODEL.CEL.LOSSES.MATCHED_WEIGHT = 1.0
    # Some query answers for every class that an image shows, none for one that it does not.
    cfg.MODEL.CEL.LOSSES.PRESENCE_WEIGHT = 0.5
    # Queries without a mask are none of the classes that the image does not show.
    cfg.MODEL.CEL.LOSSES.ABSENT_WEIGHT = 0.5
    # Queries that have a mask are as near to all classes as their class's name is: a divergence of
    # distributions (LIST), and margins between two classes (PAIRS). In a toy of vectors neither
    # gained anything, and PAIRS harmed from 5 on.
    cfg.MODEL.CEL.LOSSES.RANK_LIST_WEIGHT = 0.0
    cfg.MODEL.CEL.LOSSES.RANK_PAIRS_WEIGHT = 0.0
    # LIST: what cosines are divided by, of queries and of names.
    cfg.MODEL.CEL.LOSSES.RANK_TEMPERATURE = 0.05
    # PAIRS: how many of the classes nearest to a query's own take part beside it.
    cfg.MODEL.CEL.LOSSES.RANK_NEIGHBOURS = 8
    # PAIRS: difference in [0, 2] of two names' centred cosines above which their order counts.
    cfg.MODEL.CEL.LOSSES.RANK_GAP = 0.02
    # PAIRS: share in [0, 1] of that difference by which a query's cosines must differ.
    cfg.MODEL.CEL.LOSSES.RANK_SHARE = 0.5
