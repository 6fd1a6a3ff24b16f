"""Projectors, and what is joint between processes: theirs and image prototypes' statistics."""

import pytest
import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn

from stseg.engine.arguments import parse_args
from stseg.engine.processes import launch
from stseg.modeling.layers import ImagePrototypes, JointBatchNorm, Projector
from tests.helpers.pgseg_image import assert_close, load, pgseg_arrays, weights


def test_image_embeddings_are_the_published_ones(shared_dir):
    arrays = pgseg_arrays(shared_dir, "tiny_model")
    state = weights(arrays, part="image_projector.")
    projector = load(Projector(32, 48, 24), state).eval()
    groups = arrays["final_groups"]
    assert_close(projector(groups), arrays["group_embeddings"])
    assert_close(projector(groups.mean(dim=1)), arrays["image_embedding"])


def small():
    torch.manual_seed(0)
    return Projector(5, 8, 3)


def test_it_is_its_four_layers_over_all_vectors():
    x = torch.randn(2, 3, 5)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    ours = small()
    assert torch.equal(ours(x), plain(x.view(6, 5)).view(2, 3, 3))
    assert torch.equal(ours.norm.running_var, plain[1].running_var)
    plain.eval(), ours.eval()
    assert torch.equal(ours(x[:1, :1]), plain(x[0, :1])[None])


# Unequal parts of the images, so that a mean of means would be found out.
PARTS = (slice(0, 3), slice(3, 8))


def images():
    generator = torch.Generator().manual_seed(3)
    return (2 * torch.randn(8, 4, 5, generator=generator) + 0.5).requires_grad_()


def one_step(build, part=slice(None)):
    """Output, gradients of input and parameters, and the state after a step."""
    torch.manual_seed(0)
    module, x = build(), images()
    found = module(x[part])
    out = found[0] if isinstance(found, tuple) else found
    probe = torch.randn(8, *out.shape[1:], generator=torch.Generator().manual_seed(4))
    (out * probe[part]).sum().backward()
    # BatchNorm takes the first bias away again: its gradient is rounding.
    named = [(x, p) for x, p in module.named_parameters() if not x.endswith("hidden.bias")]
    grads = {name: p.grad for name, p in named}
    own = {"output": out.detach(), "input": torch.zeros(1) if x.grad is None else x.grad[part]}
    return own, grads, module.state_dict()


BUILDS = {
    "projector": small,
    "prototypes": lambda: ImagePrototypes(3, 5, hidden=8),
}


def _in_a_process(args):
    rank = comm.get_rank()
    found = {name: one_step(build, PARTS[rank]) for name, build in BUILDS.items()}
    for _, grads, _ in found.values():
        for grad in grads.values():
            dist.all_reduce(grad)
    constant = JointBatchNorm(2)(torch.full((3 + rank, 2), 30.1)).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = small()(images()[PARTS[rank]]).detach().float()
    torch.save({"found": found, "constant": constant, "low": low}, f"{args.opts[1]}{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two processes found."""
    file = str(tmp_path_factory.mktemp("ranks") / "rank")
    launch(_in_a_process, parse_args(["--num-gpus", "0", "--num-cpu-processes", "2", "file", file]))
    return [torch.load(f"{file}{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", BUILDS)
def test_two_processes_are_as_one(ranks, name):
    own, grads, state = one_step(BUILDS[name])
    for rank, part in enumerate(PARTS):
        their_own, their_grads, their_state = ranks[rank]["found"][name]
        for key, value in own.items():
            expected = value if len(value) == 1 else value[part]
            torch.testing.assert_close(their_own[key], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(their_grads, grads, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(dict(their_state), dict(state), rtol=1e-5, atol=1e-6)


def test_two_processes_are_finite_where_nothing_varies_and_in_low_precision(ranks):
    whole = small()(images()).detach()
    for found, part in zip(ranks, PARTS, strict=True):
        assert found["constant"].abs().max() < 1e-2
        assert (found["low"] - whole[part]).abs().max() < 0.1
