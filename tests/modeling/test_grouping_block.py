"""Tokens become groups: against the published block's arrays, and what holds for any weights."""

import pytest
import torch

from stseg.modeling.layers import GroupingBlock
from tests.helpers.pgseg_image import assert_close, load, pgseg_arrays, weights


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return pgseg_arrays(shared_dir, "grouping_block")


def block_of(arrays):
    block = GroupingBlock(32, num_heads=4, count=6, out_count=5)
    return load(block, weights(arrays)).train()


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_outputs_and_gradients_are_the_published_ones(arrays, mode):
    block = block_of(arrays).train(mode == "train")
    tokens, groups = (arrays[name].clone().requires_grad_() for name in ("tokens", "groups"))
    grouped = block(tokens, groups, noise=arrays["train_noise"].squeeze(1))
    (grouped.tokens * arrays["probe"]).sum().backward()
    assert_close(grouped.tokens, arrays[f"{mode}_out"])
    assert_close(grouped.soft, arrays[f"{mode}_soft"].squeeze(1))
    assert_close(grouped.hard, arrays[f"{mode}_hard"].squeeze(1))
    assert_close(grouped.centres, arrays["eval_centres"])  # which no noise reaches
    assert_close(tokens.grad, arrays[f"{mode}_grad_tokens"])
    assert_close(groups.grad, arrays[f"{mode}_grad_groups"])


def small_block():
    torch.manual_seed(0)
    return GroupingBlock(16, num_heads=2, count=4, out_count=3)


def some_input():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 9, 16, generator=generator), torch.randn(2, 4, 16, generator=generator)


def test_noise_is_drawn_anew_in_training_only():
    block = small_block()
    first, second = block(*some_input()), block(*some_input())
    assert not torch.equal(first.hard, second.hard)
    assert torch.equal(first.soft, second.soft)
    torch.manual_seed(5)
    third = block(*some_input()).hard
    torch.manual_seed(5)
    assert torch.equal(block(*some_input()).hard, third)
    block.eval()
    fourth = block(*some_input())
    assert torch.equal(block(*some_input()).hard, fourth.hard)
    assert torch.equal(fourth.hard.argmax(dim=1), fourth.soft.argmax(dim=1))


def test_choices_are_the_same_with_and_without_gradient():
    block, noise = small_block(), torch.rand(2, 3, 9)
    with torch.no_grad():
        without = block(*some_input(), noise=noise)
    pairs = zip(without, block(*some_input(), noise=noise), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)


def test_every_token_goes_to_one_group_and_noise_decides_which():
    noise = torch.zeros(2, 3, 9)
    noise[:, 1] = 1e3
    grouped = small_block()(*some_input(), noise=noise)
    assert torch.equal(grouped.hard, (noise > 0).float())
    assert torch.allclose(grouped.soft.sum(dim=1), torch.ones(2, 9))
    assert torch.isfinite(grouped.tokens).all()  # those of groups without tokens, too


def test_lower_precision_is_finite_and_leaves_the_maps_in_float32():
    block = small_block()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grouped = block(*some_input())
    grouped.tokens.float().sum().backward()
    assert grouped.soft.dtype == grouped.hard.dtype == torch.float32
    assert all(torch.isfinite(x).all() for x in grouped)
    assert all(torch.isfinite(x.grad).all() for x in block.parameters())
    halved = small_block().bfloat16()(*(x.bfloat16() for x in some_input()))
    assert halved.tokens.dtype == torch.bfloat16 and torch.isfinite(halved.tokens).all()
