"""Names of PGSeg's recorded text side by those of `CaptionTextEncoder`."""

import re

# Recorded names by ours.
_NAMES = (
    (r"^text\.positions$", "tower.clip.positional_embedding"),
    (r"^text\.word_embedding$", "tower.clip.token_embedding.weight"),
    (r"^text\.final_norm\.", "tower.clip.ln_final."),
    (r"^text\.block(\d+)\.", r"tower.clip.transformer.resblocks.\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.out\.", ".attn.out_proj."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^text_projector\.", "projector."),
    (r"\.bn\.(mean|var)$", r".norm.running_\1"),
    (r"\.bn\.", ".norm."),
    (r"\.fc1\.", ".hidden."),
    (r"\.fc2\.", ".out."),
)


def our_text_name(name):
    """Of a parameter of the arrays."""
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    return name


def text_state(arrays):
    """State dict of tower and projector; the prototypes are no part of it."""
    return {
        our_text_name(key.removeprefix("param:")): (
            value.squeeze(-1) if value.shape[-1] == 1 else value
        )
        for key, value in arrays.items()
        if key.startswith("param:text") and key != "param:text.prototypes"
    }
