"""EBSeg's own keys (Shan et al., CVPR 2024), read where `EBSeg` is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.mask_head_keys import add_mask_head_config, mask_head_rules
from stseg.config.rules import NOT_NEGATIVE, SHARE, SHARE_ABOVE_0

if TYPE_CHECKING:
    from detectron2.config import CfgNode

RULES = {
    **mask_head_rules("MODEL.EBSEG"),
    "MODEL.EBSEG.CLIP_SCALE": SHARE_ABOVE_0,
    "MODEL.EBSEG.ALPHA": SHARE,
    "MODEL.EBSEG.BETA": SHARE,
    "MODEL.EBSEG.GAMMA": SHARE,
    "MODEL.EBSEG.SSC_WEIGHT": NOT_NEGATIVE,
}


def add_ebseg_config(cfg: CfgNode) -> None:
    """Add `MODEL.EBSEG.*`, with the values of the published ViT-B, to a config."""
    CN = type(cfg)
    cfg.MODEL.EBSEG = CN()
    add_mask_head_config(cfg.MODEL.EBSEG)
    # Factor in (0, 1] on the sides of the padded image for CLIP; SAM sees it whole. 0.5 suits
    # ViT-B/16 (640 pixels: 20 x 20 patches), 0.7 ViT-L/14 at 336 (32 x 32).
    cfg.MODEL.EBSEG.CLIP_SCALE = 0.5
    # The position embeddings of CLIP's image tower and of SAM train, as published, although the
    # paper calls both frozen: checkpoints hold both encoders then, and the backward pass goes
    # through them. False freezes them really.
    cfg.MODEL.EBSEG.POSITIONS_TRAINED = True
    # AdaB (section 3.3), shares in [0, 1]: of the frozen embedding for a class that had labels in
    # training (ALPHA) and for another (BETA), and of the masked embedding for both (GAMMA); what
    # is left to 1 is the decoder's. ViT-L: 0.12, 0.4, 0.6.
    cfg.MODEL.EBSEG.ALPHA = 0.09
    cfg.MODEL.EBSEG.BETA = 0.3
    cfg.MODEL.EBSEG.GAMMA = 0.7
    # Weight of the loss of structure consistency (section 3.4), 0 = none.
    cfg.MODEL.EBSEG.SSC_WEIGHT = 10.0
