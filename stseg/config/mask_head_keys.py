"""Sizes of pixel and mask decoder: keys of every system that answers with masks of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.rules import WHOLE_FROM_1, Rule

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_RULES = {
    "HIDDEN_DIM": Rule("a multiple of 32", lambda dim: dim >= 32 and not dim % 32),
    "NUM_QUERIES": WHOLE_FROM_1,
    "NUM_LAYERS": WHOLE_FROM_1,
    "NUM_PIXEL_LAYERS": WHOLE_FROM_1,
}


def mask_head_rules(section: str) -> dict[str, Rule]:
    """Rules of the keys in a section, such as "MODEL.EBSEG"."""
    return {f"{section}.{key}": rule for key, rule in _RULES.items()}


def add_mask_head_config(cfg: CfgNode) -> None:
    """Add the keys to a system's own section."""
    # Channels of both decoders, a multiple of 32 (Mask2Former: 256).
    cfg.HIDDEN_DIM = 256
    # Queries, the most masks of an image (Mask2Former: 100).
    cfg.NUM_QUERIES = 100
    # Layers of the mask decoder, one less than rounds of losses (Mask2Former: 9).
    cfg.NUM_LAYERS = 9
    # Layers of deformable attention in the pixel decoder (Mask2Former: 6).
    cfg.NUM_PIXEL_LAYERS = 6
