"""Reads `MODEL.PGSEG.*` and `MODEL.TEXT.*` for the parts of PGSeg."""

from typing import Any

import open_clip
from detectron2.config import CfgNode
from torch import nn

from stseg.modeling.encoders import GroupingTransformer
from stseg.modeling.layers import Projector
from stseg.modeling.text import CaptionTextEncoder, TextPrototypes


def build_pgseg_parts(cfg: CfgNode) -> dict[str, Any]:
    """Keywords of `PGSeg` for its modules.

    Raises:
        ValueError: if sizes do not fit one another.
    """
    own = cfg.MODEL.PGSEG
    wants_text = own.PROTOTYPES.ENABLED and own.PROTOTYPES.TEXT_WEIGHT > 0
    return {
        "image_encoder": _image_encoder(cfg),
        "projector": Projector(own.WIDTH, own.HIDDEN_DIM, own.EMBED_DIM),
        "text_encoder": _text_encoder(cfg),
        "text_prototypes": _text_prototypes(cfg) if wants_text else None,
    }


def _image_encoder(cfg: CfgNode) -> nn.Module:
    own = cfg.MODEL.PGSEG
    for key, rule in (("IMAGE_SIZE", "two equal multiples"), ("IMAGE_SIZE_TEST", "multiples")):
        sides = list(own[key])
        if any(side % own.PATCH_SIZE for side in sides) or ("equal" in rule and len({*sides}) > 1):
            raise ValueError(
                f"MODEL.PGSEG.{key}: expected {rule} of MODEL.PGSEG.PATCH_SIZE {own.PATCH_SIZE}, "
                f"got {sides}. Change one of them."
            )
    return GroupingTransformer(
        image_size=own.IMAGE_SIZE[0],
        patch_size=own.PATCH_SIZE,
        width=own.WIDTH,
        depths=own.DEPTHS,
        num_heads=own.NUM_HEADS,
        groups=own.NUM_GROUPS,
        drop_path=own.DROP_PATH,
        hidden=own.HIDDEN_DIM,
        has_prototypes=own.PROTOTYPES.ENABLED,
        moves=own.PROTOTYPES.FORM == "intended",
    )


def _text_encoder(cfg: CfgNode) -> nn.Module:
    own, text = cfg.MODEL.PGSEG.TEXT, cfg.MODEL.TEXT
    tokenizer = open_clip.SimpleTokenizer(context_length=own.CONTEXT_LENGTH)
    return CaptionTextEncoder(
        tokenizer,
        projector=Projector(own.WIDTH, cfg.MODEL.PGSEG.HIDDEN_DIM, cfg.MODEL.PGSEG.EMBED_DIM),
        width=own.WIDTH,
        layers=own.LAYERS,
        heads=own.NUM_HEADS,
        context_length=own.CONTEXT_LENGTH,
        vocab_size=tokenizer.vocab_size,
        templates=text.TEMPLATES,
        synonyms=text.SYNONYMS,
        chunk_size=text.CHUNK_SIZE,
        dtype=text.DTYPE,
    )


def _text_prototypes(cfg: CfgNode) -> nn.Module:
    own = cfg.MODEL.PGSEG
    return TextPrototypes(
        width=own.TEXT.WIDTH,
        centre_width=own.WIDTH,
        hidden=own.HIDDEN_DIM,
        count=own.NUM_GROUPS[1],
        form=own.PROTOTYPES.FORM,
    )
