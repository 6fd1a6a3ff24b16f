"""The trunk of CLIP-mini, made known to timm, and its open_clip config.

open_clip passes no sizes to timm, only a name, so the trunk is registered under a name with timm's
own decorator; the ConvNeXt code is timm's. The four stages have strides 2, 4, 8 and 16, so that a
picture of 128 pixels still gives 8 x 8 cells. Small kernels keep a cell about its own surroundings
and are four times as fast as 7 x 7 on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import open_clip
from timm.models import register_model
from timm.models.convnext import ConvNeXt
from torch import nn

from stseg.modeling.encoders.timm_arguments import own_arguments

CONFIG_DIR = Path(__file__).parent / "open_clip_configs"


@register_model
def convnext_stseg_mini(pretrained: bool = False, **kwargs) -> ConvNeXt:
    """A ConvNeXt of 0.9 million parameters and total stride 16."""
    kwargs = own_arguments(pretrained, kwargs, "convnext_mini.json")
    sizes = {"depths": (1, 1, 3, 2), "dims": (16, 32, 96, 192), "kernel_sizes": (3, 3, 3, 3)}
    model = ConvNeXt(patch_size=2, **sizes, **kwargs)
    # timm halves the map once more in the first stage after a stem of stride 2, which would make
    # the total stride 32.
    model.stages[0].downsample = nn.Identity()
    for info in model.feature_info:
        info["reduction"] //= 2
    model.default_cfg = {"num_classes": 1000, "pool_size": None}
    return model


def add_mini_configs() -> None:
    """Tell open_clip of the configs in this folder; calling it again changes nothing."""
    open_clip.add_model_config(CONFIG_DIR)
