"""Loading of SED's reference outputs (fixtures/sed) for the parity tests."""

import numpy as np
import torch

from stseg.checkpoint.sed import rename
from stseg.modeling.heads.cost_decoder import CostAwareDecoder
from stseg.modeling.heads.cost_volume import cost_volume

TOLERANCE = 1e-4


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def weights(arrays, prefix="w:"):
    """State dict of the arrays under `prefix`, with the decoder stage's names turned into ours."""
    return {
        rename("transformer.decoder1." + key.removeprefix(prefix)).removeprefix("head.stages.0."): (
            tensor(value)
        )
        for key, value in arrays.items()
        if key.startswith(prefix)
    }


def decoder_weights(arrays):
    return {
        rename("transformer." + key[2:]).removeprefix("head."): tensor(value)
        for key, value in arrays.items()
        if key.startswith("w:")
    }


def assert_close(ours, reference):
    reference = tensor(reference) if isinstance(reference, np.ndarray) else reference
    assert ours.shape == reference.shape
    assert (ours - reference).abs().max().item() < TOLERANCE


def bare_decoder(**settings):
    return CostAwareDecoder(
        guidance_in=(12, 10, 6),
        num_prompts=4,
        hidden_dim=32,
        decoder_dims=(32, 16, 16),
        guidance_dims=(8, 6, 4),
        text_dim=32,
        **settings,
    )


def small_decoder(arrays, strict=True, **overrides):
    decoder = bare_decoder(**overrides)
    decoder.load_state_dict(decoder_weights(arrays), strict=strict)
    return decoder


def decoder_inputs(arrays):
    text = tensor(arrays["text_feat"])[0]
    cost = cost_volume(tensor(arrays["image_feat"]), text)
    return cost, [tensor(arrays[f"guidance_s{s}"]) for s in (16, 8, 4)], text
