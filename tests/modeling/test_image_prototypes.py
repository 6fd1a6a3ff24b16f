"""Prototypes by expectation maximisation: against published arrays, and at the edges."""

import pytest
import torch

from stseg.modeling.layers import ImagePrototypes, estimate_prototypes
from tests.helpers.pgseg_image import assert_close, load, pgseg_arrays, weights


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return pgseg_arrays(shared_dir, "image_prototypes")


def module_of(arrays, **settings):
    module = ImagePrototypes(8, 32, hidden=48, **settings)
    return load(module, weights(arrays, part="prototypes.") | {"buffer": arrays["buffer"]})


@pytest.mark.parametrize("rounds", [1, 2, 5, 10])
def test_rounds_are_the_published_ones(arrays, rounds):
    prototypes, _ = estimate_prototypes(arrays["tokens"], arrays["buffer"], rounds)
    assert_close(prototypes, arrays[f"protos_after_{rounds}"])
    # The recorded weights are found with the last prototypes: those of another round.
    _, after = estimate_prototypes(arrays["tokens"], arrays["buffer"], rounds + 1)
    assert_close(after.transpose(1, 2), arrays[f"weights_after_{rounds}"])
    residual, found = module_of(arrays, rounds=rounds).eval()(arrays["tokens"])
    assert torch.equal(found, prototypes)
    assert_close(residual, arrays[f"residual_eval_after_{rounds}"])


def test_weights_are_those_of_the_last_round(arrays):
    prototypes, found = estimate_prototypes(arrays["tokens"], arrays["buffer"])
    assert_close(found, arrays["last_step_weights"])
    assert_close(found @ prototypes, arrays["reconstruction_after_10"])


@pytest.mark.parametrize("moves", [True, False])
def test_a_step_of_training_moves_statistics_and_if_asked_the_buffer(arrays, moves):
    module = module_of(arrays, moves=moves).train()
    residual, _ = module(arrays["tokens"])
    assert_close(residual, arrays["residual_train_after_10"])
    assert_close(module.map.norm.running_mean, arrays["bn_mean_after_train"])
    assert_close(module.map.norm.running_var, arrays["bn_var_after_train"])
    assert_close(module.buffer, arrays["buffer_after_momentum" if moves else "buffer"])


def small(**settings):
    torch.manual_seed(0)
    return ImagePrototypes(4, 6, hidden=10, **settings)


def some_tokens(images=2):
    return torch.randn(images, 7, 6, generator=torch.Generator().manual_seed(1))


def test_buffer_starts_with_different_rows_of_unit_length():
    buffer = small().buffer[0]
    assert torch.allclose(buffer.norm(dim=1), torch.ones(4))
    assert ((buffer @ buffer.T).fill_diagonal_(0).abs() < 0.99).all()


def test_evaluation_moves_nothing_and_knows_no_other_image():
    module = small().eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    together, _ = module(some_tokens())
    alone, _ = module(some_tokens()[1:])
    assert torch.allclose(together[1:], alone, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_gradient_reaches_the_map_and_not_the_tokens():
    module, tokens = small(), some_tokens().requires_grad_()
    residual, prototypes = module(tokens)
    assert not prototypes.requires_grad
    residual.square().sum().backward()
    assert tokens.grad is None
    assert all(x.grad is not None for x in module.parameters())


def test_padding_weighs_nothing_whatever_it_is():
    tokens, buffer = some_tokens(), small().buffer
    mask = torch.arange(7) < torch.tensor([[5], [7]])
    padded = tokens.clone()
    padded[0, 5:] = float("nan")
    prototypes, found = estimate_prototypes(padded, buffer, mask=mask)
    for image, length in enumerate((5, 7)):
        alone = estimate_prototypes(tokens[image : image + 1, :length], buffer)
        assert torch.allclose(prototypes[image], alone[0][0], atol=1e-6)
        assert torch.allclose(found[image, :length], alone[1][0], atol=1e-6)
    assert not found[0, 5:].any()


def test_zeros_and_nothing_but_padding_give_zeros():
    buffer = small().buffer
    nothing = torch.zeros(2, 7, dtype=torch.bool)
    for tokens, mask in ((torch.zeros(2, 7, 6), None), (some_tokens(), nothing)):
        prototypes, found = estimate_prototypes(tokens, buffer, mask=mask)
        assert not prototypes.any() and torch.isfinite(found).all()
    residual, _ = small().train()(torch.zeros(2, 7, 6))
    assert torch.isfinite(residual).all()


def test_autocast_does_not_reach_the_rounds():
    tokens, buffer = some_tokens(), small().buffer
    expected = estimate_prototypes(tokens, buffer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = estimate_prototypes(tokens, buffer)
        residual, prototypes = small().train()(tokens)
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))
    assert prototypes.dtype == torch.float32 and torch.isfinite(residual).all()


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds: expected at least 1"):
        estimate_prototypes(some_tokens(), small().buffer, 0)
