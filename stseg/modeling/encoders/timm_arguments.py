"""What timm and open_clip hand to a trunk that is registered here, and that has no use for it."""

from __future__ import annotations

from typing import Any


def own_arguments(pretrained: bool, given: dict[str, Any], config: str) -> dict[str, Any]:
    """Arguments of the trunk's own, out of those of timm's `create_model`.

    Args:
        pretrained: must be False: weights are those of the whole CLIP model.
        given: all others.
        config: open_clip config that names the trunk, for the message.

    Raises:
        ValueError: if `pretrained` is asked for.
    """
    if pretrained:
        raise ValueError(
            "timm_model_pretrained: expected false, got true. Set it in open_clip_configs/"
            f"{config}. The weights of this trunk are those of the whole CLIP model."
        )
    unused = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    return {key: value for key, value in given.items() if key not in unused}
