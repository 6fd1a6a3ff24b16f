"""Compiled, the model says the same; another number of classes compiles nothing anew."""

import shutil

import pytest
import torch

from stseg.modeling.meta_arch.stseg import STSeg
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_cfg

NAMES = [[f"name {i}"] for i in range(13)]
PARTS = {
    "encoders": ("image_encoder", "sam_encoder", "dea"),
    "decoder": ("head",),
    "whole model": ("",),
}


def cases(*, quick=None):
    """Parts and a switch; all but one of them take long."""
    every = [("encoders", True), ("encoders", False), ("decoder", False), ("decoder", True)]
    every.append(("whole model", True))
    return [pytest.param(*c, marks=() if c == quick else pytest.mark.slow) for c in every]


class Backend:
    """Runs what was traced as it is, and counts."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        del inputs
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _nothing_compiled_before_or_after():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def pair(parts, backend, **changes):
    """The same weights twice, parts of the second compiled."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(STSeg(tiny_cfg(MODEL__SEM_SEG_HEAD__CHUNK_SIZE=3, **changes)))
    for name in PARTS[parts]:
        models[1].get_submodule(name).compile(backend=backend)
    return models


def inputs(num_names, *sizes, labels=False):
    generator = torch.Generator().manual_seed(1)
    vocabulary = Vocabulary.parse(NAMES[:num_names])
    items = []
    for size in sizes:
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        items.append({"image": image, "vocabulary": vocabulary})
        if labels:
            items[-1]["sem_seg"] = torch.randint(0, num_names, size, generator=generator)
    return items


@pytest.mark.parametrize(("parts", "tiles"), cases(quick=("decoder", False)))
@torch.no_grad()
def test_answers_are_the_plain_ones(parts, tiles):
    plain, compiled = pair(parts, Backend(), TEST__SLIDING_WINDOW__ENABLED=tiles)
    for num_names in (1, 7):  # 7 fills no whole number of chunks
        items = inputs(num_names, (64, 64), (40, 100))
        for expected, found in zip(plain.eval()(items), compiled.eval()(items), strict=True):
            torch.testing.assert_close(found["sem_seg"], expected["sem_seg"], rtol=0, atol=1e-5)
        for expected, found in zip(
            plain.label_maps(items), compiled.label_maps(items), strict=True
        ):
            assert (found.labels == expected.labels).float().mean() > 0.999


@pytest.mark.parametrize(("parts", "rejects"), cases(quick=("decoder", True)))
@torch.no_grad()
def test_another_number_of_names_compiles_nothing_anew(parts, rejects):
    backend = Backend()
    _, model = pair(parts, backend, MODEL__SEM_SEG_HEAD__REJECTION_TOPK=2 * rejects)
    model.eval()
    for num_names in (3, 5):  # one number is taken for fixed, a second one shows that it is not
        model(inputs(num_names, (64, 64)))
    graphs = backend.graphs
    assert graphs or parts == "decoder"  # which is left as it is
    for num_names in (7, 4, 13, 8):
        model(inputs(num_names, (64, 64)))
    assert backend.graphs == graphs


@pytest.mark.slow
def test_training_compiles_once_for_all_vocabularies():
    backend = Backend()
    plain, model = pair("decoder", backend)
    graphs = []
    for num_names in (3, 5, 7, 4):
        items = inputs(num_names, (64, 64), labels=True)
        losses, expected = model.train()(items), plain.train()(items)
        torch.testing.assert_close(sum(losses.values()), sum(expected.values()))
        graphs.append(backend.graphs)
    assert graphs[0] > 0 and graphs[-1] == graphs[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on the CPU.")
@torch.no_grad()
def test_code_that_was_really_generated_says_the_same():
    plain, compiled = pair("encoders", "inductor")
    items = inputs(4, (64, 64))
    expected, found = plain.eval()(items)[0], compiled.eval()(items)[0]
    torch.testing.assert_close(found["sem_seg"], expected["sem_seg"], rtol=0, atol=1e-4)
