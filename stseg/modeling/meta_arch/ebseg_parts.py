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
from stseg.modeling.heads import build_mask_heads
from stseg.modeling.layers import MapFusion
from stseg.modeling.text import ClassifierWithRest, build_text_encoder


def build_ebseg_parts(cfg: CfgNode) -> dict[str, nn.Module]:
    """Both encoders, the text encoder and what learns, as keywords of `EBSeg`.

    Raises:
        ValueError: for a CLIP without a plain ViT.
    """
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


def files_of_frozen_parts(model: nn.Module) -> dict[str, str]:
    """The encoders in which nothing learns, by the config key of the file that each comes from."""
    files = {
        "image_encoder.": "MODEL.CLIP.PRETRAINED",
        "text_encoder.": "MODEL.CLIP.PRETRAINED",
        "sam_encoder.": "MODEL.SAM.CHECKPOINT",
    }
    learning = tuple(name for name, p in model.named_parameters() if p.requires_grad)
    return {
        part: key
        for part, key in files.items()
        if not any(name.startswith(part) for name in learning)
    }


def _build_decoders(
    cfg: CfgNode, image_encoder: SplitViT, sam_encoder: SAMPyramid
) -> dict[str, nn.Module]:
    own, shapes = cfg.MODEL.EBSEG, image_encoder.output_shape()
    class_dim = shapes["dense"].channels
    maps = [shape.channels for shape in sam_encoder.output_shape().values()]
    taps = [shapes[f"block_{n}"].channels for n in image_encoder.taps]
    map_fusion = MapFusion(taps, maps[0])
    pixel_decoder, mask_decoder = build_mask_heads(
        own, maps, class_dim, clip_heads=image_encoder.num_heads
    )
    return {
        "map_fusion": map_fusion,
        "pixel_decoder": pixel_decoder,
        "mask_decoder": mask_decoder,
        "classifier": ClassifierWithRest(class_dim),
    }
