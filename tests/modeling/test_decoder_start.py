"""What an untrained decoder says."""

import pytest
import torch

from stseg.modeling.heads.cost_decoder import CostAwareDecoder


def build(**changes):
    torch.manual_seed(0)
    return CostAwareDecoder(
        guidance_in=[8, 8, 8], num_prompts=2, hidden_dim=16, decoder_dims=(16, 16, 16),
        guidance_dims=(4, 4, 4), kernel_size=3, **changes,
    )  # fmt: skip


def start(decoder):
    cost, sizes = torch.rand(1, 2, 3, 4, 4), (8, 16, 32)
    with torch.no_grad():
        return decoder.eval()(cost, [torch.rand(1, 8, s, s) for s in sizes])


def test_every_map_starts_around_the_prior():
    plain, rare = start(build()), start(build(prior_prob=0.03))
    assert len(plain) == len(rare) == 4
    assert 0.3 < torch.cat([p.flatten() for p in plain]).sigmoid().mean() < 0.7
    for logits in rare:
        assert 0.01 < logits.sigmoid().mean() < 0.09


def test_the_prior_changes_nothing_else():
    plain, rare = build().state_dict(), build(prior_prob=0.03).state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], rare[name])}
    assert changed == {"head.bias", *(f"aux_heads.{i}.bias" for i in range(3))}


@pytest.mark.parametrize("prior", [1.0, -0.1])
def test_a_prior_that_is_no_probability_is_refused(prior):
    with pytest.raises(ValueError, match="PRIOR_PROB: expected a number in \[0, 1\)"):
        build(prior_prob=prior)


def test_coarse_heads_learn_from_the_decoder_and_do_not_shape_it():
    decoder, sizes = build().train(), (8, 16, 32)
    cost = torch.rand(1, 2, 3, 4, 4)
    outputs = decoder(cost, [torch.rand(1, 8, s, s) for s in sizes])
    sum(coarse.square().sum() for coarse in outputs[1:]).backward()
    learning = {name.split(".")[0] for name, p in decoder.named_parameters() if p.grad is not None}
    assert len(outputs) == 4 and learning == {"aux_heads"}
