"""Two processes that learn from captions have loss, gradient and buffers of one with all pairs."""

import math

import pytest
import torch
import torch.distributed as dist
from detectron2.utils import comm

from stseg.engine.arguments import parse_args
from stseg.engine.processes import launch
from stseg.modeling.losses import contrastive_loss, prototype_loss
from stseg.modeling.meta_arch import PGSeg
from stseg.modeling.text import CaptionFeatures, TextPrototypes
from tests.helpers.tiny_model import tiny_pgseg_cfg

#: Pairs of the two processes.
SPLITS = ([3, 3], [2, 4], [0, 6])


def random(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def contrastive(own):
    """Loss and gradients of shared weights, on some of six pairs."""
    weight, more = (random(7, 7, seed=seed).requires_grad_() for seed in (0, 1))
    scales = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.0, 2.0)]
    image, text, extra = random(6, 7, seed=2), random(6, 7, seed=3), random(6, 2, 7, seed=4)
    loss = contrastive_loss(
        image[own] @ weight,
        text[own] @ more,
        scales[0],
        extra_text=extra[own] @ more,
        extra_log_scale=scales[1],
    )
    return [loss.detach(), *torch.autograd.grad(loss, (weight, more, *scales))]


def matching(own):
    """The same for groups and prototypes of six images."""
    weight = random(4, 4, seed=0).requires_grad_()
    log_scale = torch.tensor(math.log(10.0), dtype=torch.float64, requires_grad=True)
    groups, prototypes = random(6, 5, 4, seed=1), random(6, 5, 4, seed=2)
    loss = prototype_loss(groups[own] @ weight, prototypes[own], log_scale)
    return [loss.detach(), *torch.autograd.grad(loss, (weight, log_scale))]


def buffers(own):
    """Of both forms after a step on some of six captions."""
    words, found = random(6, 9, 4, seed=0).float()[own], []
    mask = torch.ones(words.shape[:2], dtype=torch.bool)
    for form in ("intended", "released"):
        torch.manual_seed(0)
        module = TextPrototypes(width=4, centre_width=3, hidden=5, count=2, form=form)
        module(CaptionFeatures(words, mask, words[:, 0], words[:, 0]))
        found.append(module.buffer)
    return found


def whole_model(own):
    """Losses of PGSeg on some of six pairs, gradients of all that learns, and buffers after it."""
    torch.manual_seed(0)
    model = PGSeg(tiny_pgseg_cfg(MODEL__PGSEG__DROP_PATH=0.0)).train()
    encoder, forward = model.image_encoder, model.image_encoder.forward
    noise = [
        random(6, *shape, seed=seed).float()[own] for seed, shape in ((0, (8, 16)), (1, (4, 8)))
    ]
    encoder.forward = lambda images: forward(images, noise)
    pixels = (64 * random(6, 3, 32, 32, seed=2) + 128).clamp(0, 255).float()[own]
    captions = ["a cat", "the moon above a hill", "a red car", "sky", "two dogs", "rain"]
    said = [captions[i] for i in torch.arange(6)[own]]
    losses = model([{"image": x, "caption": text} for x, text in zip(pixels, said, strict=True)])
    sum(losses.values()).backward()
    learnt = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    buffers = {name: x for name, x in model.named_buffers() if x.is_floating_point()}
    told = {name: x.detach() for name, x in losses.items()}
    return {"losses": told, "gradients": learnt, "buffers": buffers}


def _in_a_process(args):
    rank, found = comm.get_rank(), {}
    for split in SPLITS:
        own = torch.arange(6).split(split)[rank]
        for work in (contrastive, matching) if min(split) else (contrastive,):
            mine = work(own)
            for x in mine:
                dist.all_reduce(x)
                x /= comm.get_world_size()
            found[f"{work.__name__} {split}"] = mine
    found["buffers"] = comm.all_gather(buffers(torch.arange(6).split([2, 4])[rank]))
    mine = whole_model(torch.arange(6).split([2, 4])[rank])
    for kind in ("losses", "gradients"):  # as DDP does
        for x in mine[kind].values():
            dist.all_reduce(x)
            x /= comm.get_world_size()
    found["whole model"] = mine
    if comm.is_main_process():
        torch.save(found, args.opts[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    file = str(tmp_path_factory.mktemp("workers") / "found.pt")
    launch(_in_a_process, parse_args(["--num-gpus", "0", "--num-cpu-processes", "2", "file", file]))
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_pictures_and_captions_find_each_other_across_processes(found, split):
    torch.testing.assert_close(found[f"contrastive {split}"], contrastive(slice(None)))


@pytest.mark.parametrize("split", SPLITS[:2], ids=str)
def test_groups_and_prototypes_are_a_mean_over_all_processes(found, split):
    whole = matching(slice(None))
    torch.testing.assert_close(found[f"matching {split}"], whole)
    assert whole[1].abs().max() > 1e-3


def test_text_buffers_follow_the_captions_of_all_processes(found):
    for of_process in found["buffers"]:
        torch.testing.assert_close(of_process, buffers(slice(None)), atol=1e-6, rtol=0)


def test_pgseg_learns_in_two_processes_as_in_one(found):
    """Gradients reach 100 here, and are float32."""
    whole, mine = whole_model(slice(None)), found["whole model"]
    for kind, tolerance in (("losses", 2e-5), ("gradients", 5e-3), ("buffers", 1e-6)):
        assert whole[kind].keys() == mine[kind].keys()
        for name, x in whole[kind].items():
            torch.testing.assert_close(
                mine[kind][name], x, atol=tolerance, rtol=1e-3, msg=f"{kind} {name}"
            )
    assert whole["losses"]["loss_contrastive"] > 0.5
    assert max(x.abs().max() for x in whole["gradients"].values()) > 50
