"""A ViT of open_clip at a tiny size, split as EBSeg splits its own."""

import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from stseg.modeling.encoders.split_vit import SplitViT

WIDTH, HEADS, PATCH, OUT = 24, 4, 8, 16


def small_vit(activation=QuickGELU):
    """Image 32, patch 8, width 24, 6 blocks, 4 heads, out 16."""
    torch.manual_seed(0)
    return VisionTransformer(32, PATCH, WIDTH, 6, HEADS, 4.0, output_dim=OUT, act_layer=activation)


def split(visual=None, **changes):
    settings = {"lower": 4, "taps": range(5), "values_from": 1} | changes
    return SplitViT(small_vit() if visual is None else visual, **settings)
