"""A softmax over the classes, read block by block, is that of the resized scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stseg.modeling.scores import CellScores, LabelMap, SoftmaxScores, Tiles, probabilities
from stseg.modeling.scores import softmax as module
from stseg.modeling.scores.batches import resize
from tests.helpers.dense_scores import window_scores
from tests.modeling.scores.test_label_map import assert_same, network, scores_of


def plain(logits, size):
    """All classes at full size: the softmax of their resized scores."""
    return resize(logits.log_softmax(0).clamp(min=-80)[None], size)[0].softmax(0)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 3),
    st.sampled_from([0.3, 3.0, 60.0]),
)
def test_labels_and_confidences_equal_those_at_full_size(classes, cells, size, k, spread):
    logits = spread * scores_of(classes, *cells, seed=classes)
    source = SoftmaxScores(logits).at(size)
    wanted = plain(logits, size)
    # What rounds in a place between two cells counts by how far these are apart.
    tolerance = 1e-5 * max(spread, 1) * 10
    assert_same(LabelMap.read(source, min(k, classes)), wanted, min(k, classes), tolerance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BYTES", 20_000)  # several chunks of classes
        found = probabilities(SoftmaxScores(logits).at(size))
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.sum(0), torch.ones(size))


def test_the_best_class_between_cells_is_that_of_the_resized_scores():
    # Left the first by far, right the second by little: halfway it is the first still.
    logits = torch.tensor([[[9.0, 0.0]], [[0.0, 3.0]], [[-3.0, 0.5]]])
    size = (1, 12)
    labels = LabelMap.read(SoftmaxScores(logits).at(size)).labels
    assert torch.equal(labels.long(), resize(logits[None], size)[0].argmax(0))
    bent_first = LabelMap.read(CellScores(logits.softmax(0), None).at(size)).labels
    assert (labels != bent_first).any()


def test_an_offset_of_all_classes_of_a_cell_says_nothing():
    logits = scores_of(7, 9, 11)
    shifted = logits + 50 * torch.randn(1, 9, 11, generator=torch.Generator().manual_seed(3))
    found = [probabilities(SoftmaxScores(x).at((30, 40))) for x in (logits, shifted)]
    torch.testing.assert_close(*found, atol=1e-4, rtol=0)


def test_what_is_ruled_out_at_some_cells_stays_a_number():
    logits = scores_of(5, 6, 6)
    logits[1:, :, :3] = -torch.inf
    logits[0, :, 3:] = -torch.inf
    logits[4] = 1e4
    logits[4, 2, 2] = -torch.inf
    found = probabilities(SoftmaxScores(logits).at((31, 17)))
    assert found.isfinite().all()
    torch.testing.assert_close(found, plain(logits, (31, 17)), atol=1e-4, rtol=0)


def test_halves_are_widened():
    logits = scores_of(9, 20, 20).to(torch.bfloat16)
    found = probabilities(SoftmaxScores(logits).at((50, 60)))
    torch.testing.assert_close(found, plain(logits.float(), (50, 60)), atol=1e-5, rtol=0)


def test_windows_average_confidences(monkeypatch):
    predict, tiles = network(6), Tiles((24, 24), 1 / 3, whole_image=True)
    image = torch.randint(0, 256, (3, 50, 61), generator=torch.Generator().manual_seed(2)).float()
    bent = []

    def softmax(scores, activation=None):
        bent.append(len(scores))
        return SoftmaxScores(scores)

    monkeypatch.setattr("tests.helpers.dense_scores.CellScores", softmax)
    scores = window_scores(predict, image, tiles, (32, 32)).at((50, 61))
    found = probabilities(scores)
    assert bent and found.isfinite().all()
    torch.testing.assert_close(found.sum(0), torch.ones(50, 61), atol=1e-4, rtol=0)
    best = LabelMap.read(window_scores(predict, image, tiles, (32, 32)).at((50, 61)))
    torch.testing.assert_close(best.confidence, found.amax(0), atol=1e-5, rtol=0)
