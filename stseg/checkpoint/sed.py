"""Key names of SED's checkpoints (github.com/xb534/SED) in terms of `STSeg` without DEA."""

import re

PREFIX = "sem_seg_head.predictor."

# Applied in order to a key without PREFIX; each replaces one spelling by ours.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^clip_model\.visual\.", "image_encoder.visual."),
    (r"^clip_model\.", "text_encoder.tower.clip."),
    (r"^transformer\.conv1\.", "head.embed."),
    (r"^transformer\.decoder_guidance_projection\.", "head.image_guidance."),
    (r"^transformer\.decoder_corr_guidance_projection\.", "head.score_guidance."),
    (r"^transformer\.text_guidance_projection\.", "head.text_guidance."),
    (r"^transformer\.head(\d)\.", r"head.aux_heads.\1."),
    (r"^transformer\.head\.", "head.head."),
    (r"^transformer\.decoder1\.", "head.stages.0."),
    (r"^transformer\.decoder2\.", "head.stages.1."),
    (r"^transformer\.decoder3\.", "head.stages.2."),
)
_BLOCK_RULES: tuple[tuple[str, str], ...] = (
    (r"\bcnext\.gamma$", "spatial.scale"),
    (r"\bcnext\.dwconv\.", "spatial.depthwise."),
    (r"\bcnext\.pwconv1\.", "spatial.expand."),
    (r"\bcnext\.pwconv2\.", "spatial.project."),
    (r"\bcnext\.", "spatial."),
    (r"\battention\.MLP\.", "class_attention.mlp."),
    (r"\battention\.(attention|norm)", r"class_attention.\1"),
    (r"\bup\.", "upsample."),
    (r"\bconv\.double_conv\.", "fuse.layers."),
)


def rename(key: str) -> str:
    """Our name for a key of SED, with or without its prefix; other keys come back as they are."""
    key = key.removeprefix("module.").removeprefix(PREFIX)
    for pattern, ours in _RULES:
        key = re.sub(pattern, ours, key)
    if key.startswith("head.stages."):
        for pattern, ours in _BLOCK_RULES:
            key = re.sub(pattern, ours, key)
    return key
