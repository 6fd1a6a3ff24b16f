"""Key names of PGSeg's checkpoints (github.com/Ferenas/PGSeg) in terms of ours.

GroupViT's checkpoints (github.com/NVlabs/GroupViT) have the same names for what PGSeg took over.
Every tensor has a name here. Two of them say nothing of the trained model: `mapping_text`, which
was saved as it was drawn, for no loss reached it, and `Atten.mu`, eight numbers instead of eight
vectors, which a model has no use for whose text prototypes are vectors.
"""

import re

from torch import Tensor

# Applied in order to a key; each replaces one spelling by ours.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^logit_scale$", "log_scale"),
    (r"^img_encoder\.logit_scale$", "prototype_log_scale"),
    (r"^img_encoder\.mapping_text\.", "text_prototypes.map."),
    (r"^img_encoder\.pos_embed$", "image_encoder.positions"),
    (r"^img_encoder\.layers\.2\.blocks\.", "image_encoder.last_blocks."),
    (r"^img_encoder\.layers\.", "image_encoder.stages."),
    (r"^img_encoder\.", "image_encoder."),
    (r"^img_projector\.", "projector."),
    (r"^text_encoder\.Atten\.mu$", "text_prototypes.buffer"),
    (
        r"^text_encoder\.(token_embedding|positional_embedding|transformer|ln_final)\b",
        r"text_encoder.tower.clip.\1",
    ),
    (r"^text_projector\.", "text_encoder.projector."),
    (r"\blinear_hidden\.0\.", "hidden."),
    (r"\blinear_hidden\.1\.", "norm."),
    (r"\blinear_out\.", "out."),
)
_STAGE_RULES: tuple[tuple[str, str], ...] = (
    (r"\.group_token$", ".group_tokens"),
    (r"\.group_projector\.0\.", ".carry.norm."),
    (r"\.group_projector\.1\.", ".carry.mlp."),
    (r"\.downsample_spatial\.mu$", ".prototypes.buffer"),
    (r"\.downsample_spatial\.mapping_x\.", ".prototypes.map."),
    (r"\.downsample\.norm_tokens\.", ".grouping.mix.norm."),
    (r"\.downsample\.mlp_inter\.", ".grouping.mix.mlp."),
    (r"\.downsample\.norm_post_tokens\.", ".grouping.norm_queries."),
    (r"\.downsample\.norm_x\.", ".grouping.norm_tokens."),
    (r"\.downsample\.pre_assign_attn\.attn\.proj\.", ".grouping.cross.attention.out_proj."),
    (r"\.downsample\.pre_assign_attn\.attn\.", ".grouping.cross.attention."),
    (r"\.downsample\.pre_assign_attn\.norm2\.", ".grouping.cross.norm_mlp."),
    (r"\.downsample\.pre_assign_attn\.norm_post\.", ".grouping.cross.norm_out."),
    (r"\.downsample\.pre_assign_attn\.", ".grouping.cross."),
    (r"\.downsample\.assign\.proj\.", ".grouping.assign.out_proj."),
    (r"\.downsample\.norm_new_x\.", ".grouping.norm_out."),
    (r"\.downsample\.mlp_channels\.", ".grouping.mlp."),
    (r"\.downsample\.", ".grouping."),
)
# Linear layers that are convolutions of width 1 there, under our names.
_CONVOLUTION = re.compile(r"(^|\.)(projector|map)\.(hidden|out)\.weight$")


def rename(key: str) -> str:
    """Our name for a key of PGSeg or GroupViT; other keys come back as they are."""
    for pattern, ours in _RULES:
        key = re.sub(pattern, ours, key)
    if key.startswith("image_encoder.stages."):
        for pattern, ours in _STAGE_RULES:
            key = re.sub(pattern, ours, key)
    return key


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of PGSeg or GroupViT under our names, (out, in, 1) of linear layers as (out, in)."""
    named = {rename(key): value for key, value in state.items()}
    return {
        key: value.squeeze(-1) if _CONVOLUTION.search(key) and value.dim() == 3 else value
        for key, value in named.items()
    }
