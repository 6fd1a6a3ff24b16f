"""DEA against eq. 1-4 of the paper, written out in float64."""

import numpy as np
import pytest
import torch

from stseg.modeling.layers.dea import DEA


def formulas(clip, sam, weights):
    """Eq. 1-4 for one image in NumPy float64: clip (L, D) cells, sam (L, D) aligned cells."""
    w = {name: value.double().numpy() for name, value in weights.items()}

    def softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def layer_norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        std = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return centred / std * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + torch.erf(torch.from_numpy(x / np.sqrt(2))).numpy())

    d = clip.shape[-1]
    q = clip @ w["cross_q.weight"].T
    k, v = sam @ w["cross_k.weight"].T, sam @ w["cross_v.weight"].T
    x = layer_norm(q + softmax(q @ k.T / np.sqrt(d)) @ v, "cross_norm")
    q, k, v = (x @ w[f"self_{name}.weight"].T for name in "qkv")
    x = layer_norm(x + softmax(q @ k.T / np.sqrt(d)) @ v, "self_norm")
    hidden = gelu(x @ w["ffn.0.weight"].T + w["ffn.0.bias"])
    return layer_norm(x + hidden @ w["ffn.2.weight"].T + w["ffn.2.bias"], "ffn_norm")


def randomised(dea):
    generator = torch.Generator().manual_seed(0)
    for parameter in dea.parameters():
        scale = 0.3 if parameter.ndim > 1 else 1.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return dea


def test_one_head_is_the_formulas_to_the_letter():
    dea = randomised(DEA(16, 6, num_heads=1))
    clip, sam = torch.randn(2, 16, 3, 5), torch.randn(2, 6, 3, 5)
    fused = dea(clip, sam)
    state = dea.state_dict()
    aligned = torch.einsum("bshw,ds->bdhw", sam, state["align.weight"][:, :, 0, 0])
    aligned = aligned + state["align.bias"][:, None, None]
    for i in range(2):
        ours = fused[i].flatten(1).T.detach().double().numpy()
        cells = [x[i].flatten(1).T.double().numpy() for x in (clip, aligned)]
        np.testing.assert_allclose(ours, formulas(*cells, state), atol=2e-5)


def test_heads_split_the_width_and_change_the_result():
    torch.manual_seed(0)
    one, four = randomised(DEA(16, 6, num_heads=1)), randomised(DEA(16, 6, num_heads=4))
    clip, sam = torch.randn(1, 16, 4, 4), torch.randn(1, 6, 4, 4)
    assert (one(clip, sam) - four(clip, sam)).abs().max() > 1e-2


def test_the_start_keeps_the_direction_of_clip():
    torch.manual_seed(0)
    clip, sam = torch.randn(2, 64, 4, 4), torch.randn(2, 8, 7, 7)
    centred = clip - clip.mean(dim=1, keepdim=True)
    kept = torch.cosine_similarity(DEA(64, 8, init="identity")(clip, sam), centred, dim=1)
    lost = torch.cosine_similarity(DEA(64, 8, init="xavier")(clip, sam), centred, dim=1)
    assert kept.min() > 0.9999
    assert lost.mean() < 0.5


def test_every_weight_learns_from_the_identity_start():
    torch.manual_seed(0)
    dea = DEA(16, 6, num_heads=2)
    optimizer = torch.optim.SGD(dea.parameters(), lr=0.1)
    clip, sam, goal = torch.randn(2, 16, 4, 4), torch.randn(2, 6, 4, 4), torch.randn(2, 16, 4, 4)
    for _ in range(3):  # zero weights hold back those behind them for a step or two
        optimizer.zero_grad()
        ((dea(clip, sam) - goal) ** 2).mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in dea.parameters())


def test_sam_maps_of_any_size_are_aligned():
    dea = DEA(16, 6, num_heads=2)
    assert dea(torch.randn(1, 16, 3, 5), torch.randn(1, 6, 8, 8)).shape == (1, 16, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "named"), [({"num_heads": 3}, "num_heads"), ({"init": "zeros"}, "DEA.INIT")]
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        DEA(16, 6, **arguments)
