"""Key names of EBSeg's checkpoints (github.com/slonetime/EBSeg): the parts that decode masks."""

import re

#: Keys of constants that are made anew from the vocabulary, and so have no name here.
DERIVED = ("criterion.empty_weight",)

# Applied in order; each replaces one spelling by ours.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^sem_seg_head\.clip_fusion_layers\.", "map_fusion.projections."),
    (r"^sem_seg_head\.pixel_decoder\.transformer\.level_embed$", "pixel_decoder.level_embed"),
    (r"^sem_seg_head\.pixel_decoder\.transformer\.encoder\.", "pixel_decoder."),
    (r"^sem_seg_head\.pixel_decoder\.adapter_1\.", "pixel_decoder.lateral."),
    (r"^sem_seg_head\.pixel_decoder\.layer_1\.", "pixel_decoder.smooth."),
    (r"^sem_seg_head\.pixel_decoder\.", "pixel_decoder."),
    (r"^sem_seg_head\.predictor\.", "mask_decoder."),
)
_PIXEL_DECODER_RULES: tuple[tuple[str, str], ...] = (
    (r"\.self_attn\.", ".attention."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".ffn_norm."),
    (r"\.linear1\.", ".ffn.0."),
    (r"\.linear2\.", ".ffn.2."),
)
_MASK_DECODER_RULES: tuple[tuple[str, str], ...] = (
    (
        r"\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r".layers.\1.cross_attention.",
    ),
    (r"\.transformer_cross_attention_layers\.(\d+)\.norm\.", r".layers.\1.cross_norm."),
    (r"\.transformer_self_attention_layers\.(\d+)\.self_attn\.", r".layers.\1.self_attention."),
    (r"\.transformer_self_attention_layers\.(\d+)\.norm\.", r".layers.\1.self_norm."),
    (r"\.transformer_ffn_layers\.(\d+)\.linear1\.", r".layers.\1.ffn.0."),
    (r"\.transformer_ffn_layers\.(\d+)\.linear2\.", r".layers.\1.ffn.2."),
    (r"\.transformer_ffn_layers\.(\d+)\.norm\.", r".layers.\1.ffn_norm."),
    (r"\.decoder_norm\.", ".norm."),
    (r"\.query_feat\.", ".query_feats."),
    (r"\.query_embed\.", ".query_positions."),
    (r"\.mask_embed\.", ".mask_mlp."),
    (r"\.mask_embed1\.", ".region_embedding.mlp."),
    (r"\.pool_proj\.", ".region_embedding.pool_proj."),
    (r"\.logit_scale$", ".region_embedding.scale"),
    (r"\.attn_proj\.", ".attention_bias.mlp."),
    (r"\.bias_scaling\.", ".attention_bias.scaling."),
    # The three layers of an MLP have activations between them, which count here.
    (r"mlp\.layers\.2\.", "mlp.4."),
    (r"mlp\.layers\.1\.", "mlp.2."),
    (r"mlp\.layers\.0\.", "mlp.0."),
)


def rename(key: str) -> str:
    """Our name for a key of EBSeg; other keys come back as they are."""
    for pattern, ours in _RULES:
        key = re.sub(pattern, ours, key)
    rules: tuple[tuple[str, str], ...] = ()
    if key.startswith("pixel_decoder."):
        rules = _PIXEL_DECODER_RULES
    elif key.startswith("mask_decoder."):
        rules = _MASK_DECODER_RULES
    for pattern, ours in rules:
        key = re.sub(pattern, ours, key)
    return key
