"""Pixels that belong to groups: against a dense answer in plain PyTorch, and published arrays."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.scores import GroupScores, LabelMap, confidences, probabilities, with_rest

SIZES = [(40, 56), (13, 90), (6, 7)]


def answer(groups=5, classes=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randn(groups, 6, 7, generator=generator).softmax(0)
    return shares, torch.rand(groups, classes, generator=generator)


def dense(shares, rows, size):
    big = F.interpolate(shares[None], size, mode="bilinear", align_corners=False)[0]
    return rows.T[:, big.argmax(0)]


@pytest.mark.parametrize("size", SIZES)
def test_a_pixel_has_the_row_of_its_greatest_share(size):
    shares, rows = answer()
    source = GroupScores(shares, rows).at(size)
    expected = dense(shares, rows, size)
    assert torch.equal(probabilities(source), expected)
    found = LabelMap.read(source, 3)
    assert torch.equal(found.top_confidences, expected.topk(3, dim=0).values)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold(seed):
    shares, rows = answer(seed=seed)
    source = GroupScores(shares, rows).at((60, 70))
    cols = [(0, 8), (8, 9), (9, 70)]
    low, high = source.bounds((11, 17), cols)
    for k, part in enumerate(cols):
        values = confidences(source, torch.arange(9), (11, 17), part).flatten(1)
        assert (low[k] <= values.amin(1)).all() and (values.amax(1) <= high[k]).all()


def test_bounds_are_those_of_the_groups_of_a_block():
    shares, rows = torch.zeros(3, 6, 8), torch.rand(3, 9)
    shares[0, :, :4], shares[1, :, 4:] = 1, 1
    low, high = GroupScores(shares, rows).at((60, 80)).bounds((0, 60), [(0, 30), (20, 60)])
    assert torch.equal(low[0], rows[0]) and torch.equal(high[0], rows[0])
    assert torch.equal(low[1], rows.amin(0)) and torch.equal(high[1], rows.amax(0))


def test_what_only_upper_rows_need_may_be_forgotten():
    shares, rows = answer()
    source = GroupScores(shares, rows).at((60, 70))
    ids = torch.arange(9)
    whole = source.take(ids, (33, 60), (0, 70))
    assert torch.allclose(source.below(33).take(ids, (33, 60), (0, 70)), whole)


@pytest.mark.parametrize("rest", [0, 2, 3])
def test_groups_that_are_sure_of_nothing_are_the_class_without_words(rest):
    rows = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.1], [0.0, 0.0, 0.5]])
    found = with_rest(rows, rest, 0.5)
    assert found[:, rest].tolist() == [0.0, 1.0, 0.0]
    assert torch.equal(torch.cat([found[:, :rest], found[:, rest + 1 :]], 1), rows)


def test_some_group_has_a_class_with_words_however_unsure():
    rows = torch.tensor([[0.1, 0.1], [0.2, 0.3]])
    assert with_rest(rows, 0, 0.95)[:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("threshold", ["0.3", "0.95"])
def test_published_arrays_are_met(shared_dir, threshold):
    folder = shared_dir / "fixtures" / "pgseg"
    arrays, model = np.load(folder / "inference.npz"), np.load(folder / "tiny_model.npz")
    shares = torch.tensor(model["wide_patch_to_final_group"][0].T).unflatten(1, (8, 12))
    groups, image, texts = (
        F.normalize(torch.tensor(x), dim=-1)
        for x in (
            model["wide_group_embeddings"][0],
            model["wide_image_embedding"],
            arrays["class_embeddings"],
        )
    )
    scale = float(np.exp(arrays["log_scale"]))
    logits = scale * groups @ texts.T
    left_out = (scale * image @ texts.T)[0].argsort()[:-5]
    kept = logits.index_fill(1, left_out, -torch.inf)
    rows = kept.softmax(-1) * logits.softmax(-1)
    plain = GroupScores(shares, rows).at((64, 96))
    expected = torch.tensor(arrays[f"scores_nobg_{threshold}"]) if threshold == "0.3" else None
    if expected is not None:
        torch.testing.assert_close(probabilities(plain), expected, atol=1e-5, rtol=0)
        labels = torch.tensor(arrays["labels_nobg_0.3"]).long()
        assert torch.equal(LabelMap.read(plain).labels.long(), labels)
    source = GroupScores(shares, with_rest(rows, 0, float(threshold))).at((64, 96))
    expected = torch.tensor(arrays[f"scores_bg_{threshold}"])
    torch.testing.assert_close(probabilities(source), expected, atol=1e-5, rtol=0)
    labels = torch.tensor(arrays[f"labels_bg_{threshold}"]).long()
    assert torch.equal(LabelMap.read(source).labels.long(), labels)
