"""Reduced precision in evaluation: near the exact answer, float32 outside, training untouched."""

import logging

import pytest
import torch

from stseg.modeling.layers.class_context import ClassContext
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.modeling.scores import batches as inference
from stseg.modeling.scores.batches import evaluation_dtype
from stseg.modeling.scores.label_map import LabelMap
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_cfg

VOCABULARY = Vocabulary.parse("sky; tree; cat, kitten; road; moon")
TILES = {"TEST__SLIDING_WINDOW__ENABLED": True, "TEST__SLIDING_WINDOW__SIZE": [40, 40]}
REJECTION = {"MODEL__SEM_SEG_HEAD__REJECTION_TOPK": 2}


def build(dtype="bf16", **changes):
    torch.manual_seed(0)
    model = STSeg(tiny_cfg(MODEL__DTYPE=dtype, **changes)).eval()
    with torch.no_grad():  # scores that differ by more than rounding
        model.head.head.weight.mul_(10)
    return model


def item(vocabulary=VOCABULARY):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 64, 56), generator=generator, dtype=torch.uint8)
    return {"image": image, "vocabulary": vocabulary, "height": 50, "width": 70}


@torch.no_grad()
def answer(model, one):
    return model([one])[0]["sem_seg"]


@pytest.mark.parametrize("changes", [{}, TILES, REJECTION], ids=["whole", "tiles", "rejection"])
@pytest.mark.parametrize("names", ["sky", "sky; tree; cat, kitten; road; moon"])
def test_bf16_is_near_float32_and_comes_back_as_float32(changes, names):
    one = item(Vocabulary.parse(names))
    exact, rounded = answer(build("fp32", **changes), one), answer(build(**changes), one)
    assert rounded.dtype == torch.float32
    assert rounded.shape == exact.shape
    assert (rounded - exact).abs().max() > 0  # it is not float32 after all
    if changes is not REJECTION:  # which may turn on the last digit
        assert (rounded - exact).abs().max() < 0.05
    missed = exact.amax(0) - exact.gather(0, rounded.argmax(0, keepdim=True))[0]
    assert missed.mean() < 0.005  # where another class wins, it was about as good


@pytest.mark.parametrize("changes", [{}, TILES, REJECTION], ids=["whole", "tiles", "rejection"])
def test_label_maps_are_those_of_the_probabilities(changes):
    model, one = build(**changes), item()
    with torch.no_grad():
        (found,) = model.label_maps([one], k=2)
    expected = LabelMap.of(answer(model, one), k=2)
    assert found.top_confidences.dtype == torch.float32
    torch.testing.assert_close(found.top_confidences, expected.top_confidences)
    assert (found.labels != expected.labels).float().mean() < 0.01


def test_the_sums_over_classes_stay_float32(monkeypatch):
    kinds = set()
    add = ClassContext.add

    def watched(self, x, guidance=None):
        add(self, x, guidance)
        kinds.update({("x", x.dtype), ("sum", self.values.dtype), ("sum", self.keys.dtype)})

    monkeypatch.setattr(ClassContext, "add", watched)
    answer(build(), item())
    assert kinds == {("x", torch.bfloat16), ("sum", torch.float32)}


def test_float32_leaves_autocast_to_the_caller():
    one, model = item(), build("fp32")
    with torch.autocast("cpu", torch.bfloat16):
        within = answer(model, one)
    assert torch.equal(within, answer(build(), one))


def test_training_does_not_know_of_it():
    losses = []
    for dtype in ("fp32", "bf16"):
        target = torch.randint(0, 5, (64, 56), generator=torch.Generator().manual_seed(0))
        losses.append(build(dtype).train()([{**item(), "sem_seg": target}]))
    assert losses[0].keys() == losses[1].keys()
    for name, loss in losses[0].items():
        assert torch.equal(loss, losses[1][name])


def test_the_text_side_keeps_its_own_precision():
    exact, rounded = (build(dtype).text_encoder(VOCABULARY).embeds for dtype in ("fp32", "bf16"))
    assert torch.equal(exact, rounded)


def test_fp16_on_the_cpu_is_bf16_and_says_so_once(caplog):
    evaluation_dtype.cache_clear()
    model, one = build("fp16"), item()
    with caplog.at_level(logging.WARNING, inference.__name__):
        first = answer(model, one)
        answer(model, one)
    assert [x.message for x in caplog.records if x.name == inference.__name__] == [
        "MODEL.DTYPE: fp16 is for GPUs, on the CPU bf16 is used instead."
    ]
    assert torch.equal(first, answer(build("bf16"), one))
    assert evaluation_dtype("fp16", "cuda") is torch.float16


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="MODEL.DTYPE: expected one of .*got 'half'"):
        build("half")
