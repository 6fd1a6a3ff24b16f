"""BatchNorm's running statistics in several processes: what is evaluated is what is saved."""

import torch
from detectron2.utils import comm
from torch import nn

from stseg.engine.arguments import parse_args
from stseg.engine.hooks import SharedStatistics
from stseg.engine.processes import launch


def statistics(model):
    return torch.cat([x.flatten().double() for x in model.state_dict().values()])


def step(rank):
    """A model whose norms have seen this process's own images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None))
    model.train()(torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(rank)))
    return model


def _in_a_process(args):
    model = step(comm.get_rank())
    before = comm.all_gather(statistics(model))
    SharedStatistics(model).after_step()
    after = comm.all_gather(statistics(model))
    if comm.is_main_process():
        torch.save({"before": before, "after": after}, args.opts[1])


def test_all_processes_have_those_of_the_first(tmp_path):
    file = str(tmp_path / "found.pt")
    launch(_in_a_process, parse_args(["--num-gpus", "0", "--num-cpu-processes", "2", "file", file]))
    found = torch.load(file, weights_only=True)
    assert not torch.equal(*found["before"])
    assert torch.equal(*found["after"]) and torch.equal(found["after"][0], found["before"][0])


def test_one_process_keeps_its_own():
    model = step(0)
    before = statistics(model)
    SharedStatistics(model).after_step()
    assert torch.equal(statistics(model), before)
