"""Loading of PGSeg's reference outputs (fixtures/pgseg) for the tests of the image side."""

import re

import numpy as np
import torch

from stseg.modeling.encoders import GroupingTransformer

TOLERANCE = 1e-5  # absolute

# Names of the arrays' parameters by ours, applied in order.
_NAMES = (
    (r"^vision\.positions$", "positions"),
    (r"^vision\.norm\.", "norm."),
    (r"^vision\.patch\.conv\.", "patch_embed.proj."),
    (r"^vision\.patch\.norm\.", "patch_embed.norm."),
    (r"^vision\.stage2\.block(\d)\.", r"last_blocks.\1."),
    (r"^vision\.stage(\d)\.block(\d)\.", r"stages.\1.blocks.\2."),
    (r"^vision\.stage(\d)\.", r"stages.\1."),
    (r"\bcarry\.mix\.", "carry.mlp."),
    (r"\bprototypes$", "prototypes.buffer"),
    (r"\bprototype_residual\.", "prototypes.map."),
    (r"\bnorm_groups\.", "mix.norm."),
    (r"\bmix_groups\.", "mix.mlp."),
    (r"\bnorm_mixed\.", "norm_queries."),
    (r"\bnorm_segments\.", "norm_tokens."),
    (r"\bcross\.norm2\.", "cross.norm_mlp."),
    (r"\bcross\.norm_post\.", "cross.norm_out."),
    (r"\bcross\.attn\.(q|k|v|out)\.", r"cross.attention.\1_proj."),
    (r"\bassign\.(q|k|v|out)\.", r"assign.\1_proj."),
    (r"\bmlp_out\.", "mlp."),
    (r"\battn\.out\.", "attn.proj."),
)
_PROJECTOR_NAMES = (
    (r"\bfc1\.", "hidden."),
    (r"\bfc2\.", "out."),
    (r"\bbn\.mean$", "norm.running_mean"),
    (r"\bbn\.var$", "norm.running_var"),
    (r"\bbn\.", "norm."),
)


def pgseg_arrays(shared_dir, name):
    with np.load(shared_dir / "fixtures" / "pgseg" / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}


def our_name(name):
    """Of a parameter of the arrays: as of `GroupingTransformer`, or of a part of it."""
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    if "prototypes.map." in name or "projector." in name:
        for pattern, ours in _PROJECTOR_NAMES:
            name = re.sub(pattern, ours, name)
    return name


def weights(arrays, prefix="param:", part=""):
    """State dict of the arrays under a prefix, of a part under our names ("image_projector.")."""
    named = {our_name(key.removeprefix(prefix)): value for key, value in arrays.items()
             if key.startswith(prefix)}  # fmt: skip
    return {key.removeprefix(part): value.squeeze(-1) if value.shape[-1:] == (1,) else value
            for key, value in named.items() if key.startswith(part)}  # fmt: skip


def load(module, state):
    """Every tensor but the counters of batches."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return module


def tiny_encoder(arrays=None, **settings):
    """The encoder that the arrays are of; with its weights if they are given."""
    settings = {"drop_path": 0.0, "moves": False} | settings
    encoder = GroupingTransformer(
        image_size=64,
        patch_size=8,
        width=32,
        depths=(2, 1, 1),
        num_heads=4,
        groups=(16, 8),
        hidden=48,
        **settings,
    )
    if arrays is None:
        return encoder
    state = weights(arrays)
    return load(encoder, {key: state[key] for key in state if not key.startswith(
        ("text", "image_projector", "log_", "vision."))})  # fmt: skip


def assert_close(ours, reference, tolerance=TOLERANCE):
    assert ours.shape == reference.shape
    assert torch.isfinite(ours).all()
    found = (ours.detach() - reference).abs().max().item()
    assert found <= tolerance, found
