"""The parts of EBSeg that hold weights, built by its keys (Shan et al., CVPR 2024)."""

from __future__ import annotations

from detectron2.config import CfgNode
from torch import nn

from stseg.modeling.encoders import (
    SAMPyramid,
    SplitViT,
    build_clip,
    build_sam_pyramid,
    build_split_vit,
)
from stseg.modeling.heads import MaskDecoder, PixelDecoder
from stseg.modeling.layers import MapFusion
from stseg.modeling.text import ClassifierWithRest, build_text_encoder


def build_ebseg_parts(cfg: CfgNode) -> dict[str, nn.Module]:
    """Both encoders, the text encoder and what learns, as keywords of `EBSeg`.

    Raises:
        ValueError: for labels with gaps, which the masks cannot learn from, or a CLIP without a
            plain ViT.
    """
    _check_ignored(cfg)
    trained = cfg.MODEL.EBSEG.POSITIONS_TRAINED
    clip = build_clip(cfg)
    image_encoder = build_split_vit(
        clip.visual, trained=("positional_embedding",) if trained else ()
    )
    sam_encoder = build_sam_pyramid(cfg, trained=("pos_embed",) if trained else ())
    return {
        "image_encoder": image_encoder,
        "sam_encoder": sam_encoder,
        "text_encoder": build_text_encoder(cfg, clip),
        **_build_decoders(cfg, image_encoder, sam_encoder),
    }


def _build_decoders(
    cfg: CfgNode, image_encoder: SplitViT, sam_encoder: SAMPyramid
) -> dict[str, nn.Module]:
    own, shapes = cfg.MODEL.EBSEG, image_encoder.output_shape()
    class_dim = shapes["dense"].channels
    maps = [shape.channels for shape in sam_encoder.output_shape().values()]
    taps = [shapes[f"block_{n}"].channels for n in image_encoder.taps]
    return {
        "map_fusion": MapFusion(taps, maps[0]),
        "pixel_decoder": PixelDecoder(
            maps,
            dim=own.HIDDEN_DIM,
            mask_dim=own.HIDDEN_DIM,
            num_layers=own.NUM_PIXEL_LAYERS,
            ffn_dim=4 * own.HIDDEN_DIM,
        ),
        "mask_decoder": MaskDecoder(
            dim=own.HIDDEN_DIM,
            num_queries=own.NUM_QUERIES,
            num_layers=own.NUM_LAYERS,
            ffn_dim=8 * own.HIDDEN_DIM,
            class_dim=class_dim,
            clip_heads=image_encoder.num_heads,
        ),
        "classifier": ClassifierWithRest(class_dim),
    }


def _check_ignored(cfg: CfgNode) -> None:
    if cfg.MODEL.LOSS.IGNORED != "negative":
        raise ValueError(
            "MODEL.LOSS.IGNORED: expected 'negative' for MODEL.META_ARCHITECTURE EBSeg, whose "
            f"masks take unlabelled pixels for outside, got {cfg.MODEL.LOSS.IGNORED!r}. Leave the "
            "key out, or take STSeg for what learns from labels with gaps, such as pseudo-labels."
        )
