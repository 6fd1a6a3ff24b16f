"""What must hold for every input, tried on whatever hypothesis comes up with."""

import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix
from stseg.evaluation.boundary import BoundaryCounts, TrimapCounts
from stseg.evaluation.calibration import ConfidenceHistogram
from stseg.evaluation.metrics import figures, per_class, top_confusions
from stseg.evaluation.open_vocab import open_iou

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

tried = settings(max_examples=40, deadline=None, database=None)

IGNORE = 255


@st.composite
def images(draw):
    """Number of classes and pairs of maps, some pixels ignored."""
    num_classes = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.tuples(st.integers(0, 9), st.integers(1, 9)))
        prediction, label = rng.integers(0, num_classes, (2, *shape))
        label[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = IGNORE
        pairs.append((prediction, label))
    return num_classes, pairs


def counted(kind, num_classes, pairs):
    result = kind(num_classes)
    for prediction, label in pairs:
        result.update(prediction, label, ignore=IGNORE)
    return result


def table(counts):
    """All numbers of an accumulator."""
    if isinstance(counts, TrimapCounts):
        return np.stack([m.counts for m in counts.matrices])
    if isinstance(counts, BoundaryCounts):
        return np.stack([counts.both, counts.truth, counts.predicted])
    return counts.counts


def trimap(num_classes):
    return TrimapCounts(num_classes, widths=[1, 3])


KINDS = pytest.mark.parametrize("kind", [ConfusionMatrix, BoundaryCounts, trimap])


@KINDS
@tried
@given(images(), st.data())
def test_merging_in_any_order_and_split_gives_the_same(kind, case, data):
    num_classes, pairs = case
    order = data.draw(st.permutations(range(len(pairs))))
    cut = data.draw(st.integers(0, len(pairs)))
    left = counted(kind, num_classes, [pairs[i] for i in order[:cut]])
    right = counted(kind, num_classes, [pairs[i] for i in order[cut:]])
    right.merge(left)
    np.testing.assert_array_equal(table(right), table(counted(kind, num_classes, pairs)))


@KINDS
@tried
@given(images(), st.data())
def test_permuting_classes_permutes_the_table(kind, case, data):
    num_classes, pairs = case
    to = np.array(data.draw(st.permutations(range(num_classes))))
    moved = [
        (to[p], np.where(t == IGNORE, t, to[np.minimum(t, num_classes - 1)])) for p, t in pairs
    ]
    before = table(counted(kind, num_classes, pairs))
    after = table(counted(kind, num_classes, moved))
    after = after[..., to]
    if kind is not BoundaryCounts:
        after = after[..., to, :]
    np.testing.assert_array_equal(after, before)


@KINDS
@tried
@given(images(), st.integers(0, 2**32))
def test_what_is_predicted_on_ignored_pixels_never_matters(kind, case, seed):
    num_classes, pairs = case
    rng = np.random.default_rng(seed)
    other = [
        (np.where(t == IGNORE, rng.integers(-(10**6), 10**6, t.shape), p), t) for p, t in pairs
    ]
    before, after = (table(counted(kind, num_classes, p)) for p in (pairs, other))
    np.testing.assert_array_equal(after, before)


@KINDS
@tried
@given(images(), st.sampled_from([-1, 9, 256, 65535]))
def test_any_id_may_stand_for_ignored(kind, case, value):
    num_classes, pairs = case
    result = kind(num_classes)
    for prediction, label in pairs:
        result.update(prediction, np.where(label == IGNORE, value, label), ignore=value)
    np.testing.assert_array_equal(table(result), table(counted(kind, num_classes, pairs)))


@tried
@given(images(), st.data())
def test_figures_stay_between_zero_and_one_and_in_order(case, data):
    num_classes, pairs = case
    marks = st.lists(st.booleans(), min_size=num_classes, max_size=num_classes).map(np.array)
    matrix = counted(ConfusionMatrix, num_classes, pairs)
    with np.errstate(all="raise"):
        result = figures(matrix, seen=data.draw(marks), classes=data.draw(marks))
        result |= counted(BoundaryCounts, num_classes, pairs).summary()
        result |= counted(trimap, num_classes, pairs).summary()
    for name, value in result.items():
        assert np.isnan(value) or 0 <= value <= 1, name
    assert np.isnan(result["pACC"]) == (matrix.counts.sum() == 0)
    if matrix.counts.sum():
        assert result["mIoU_union"] <= result["mIoU_gt"] <= result["mACC"] + 1e-12
    for name in ("iou", "accuracy", "precision"):
        values = per_class(matrix)[name]
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    wrong = matrix.counts.sum() - np.trace(matrix.counts)
    top = top_confusions(matrix, 100)
    assert sum(pixels for _, _, pixels, _ in top) == wrong
    assert all(0 < share <= 1 for *_, share in top)


@tried
@given(images(), st.data())
def test_permuting_classes_changes_no_mean(case, data):
    num_classes, pairs = case
    matrix = counted(ConfusionMatrix, num_classes, pairs)
    to = np.array(data.draw(st.permutations(range(num_classes))))
    moved = ConfusionMatrix(num_classes)
    moved.counts += matrix.counts[np.ix_(to, to)]
    seen = np.arange(num_classes) % 2 == 0
    before, after = figures(matrix, seen=seen), figures(moved, seen=seen[to])
    assert after == pytest.approx(before, abs=1e-12, nan_ok=True)


@tried
@given(images(), st.integers(0, 2**32))
def test_soft_iou_lies_between_the_plain_one_and_one(case, seed):
    num_classes, pairs = case
    matrix = counted(ConfusionMatrix, num_classes, pairs)
    near = np.random.default_rng(seed).random((num_classes, num_classes))
    np.fill_diagonal(near, 1.0)
    soft, plain = open_iou(matrix, near), matrix.iou()
    assert (np.isnan(soft) == np.isnan(plain)).all()
    assert ((soft >= plain - 1e-12) & (soft <= 1) | np.isnan(soft)).all()


@tried
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.integers(0, 60))
def test_calibration_splits_anywhere_and_stays_between_zero_and_one(pixels, cut):
    confidence = np.array([c for c, _ in pixels], dtype=np.float64)
    correct = np.array([right for _, right in pixels], dtype=bool)
    whole, left, right = (ConfidenceHistogram() for _ in range(3))
    whole.update(confidence, correct)
    left.update(confidence[:cut], correct[:cut])
    right.update(confidence[cut:], correct[cut:])
    right.merge(left)
    assert (right.steps == whole.steps).all() and (right.correct == whole.correct).all()
    for value in (whole.ece(), whole.aurc()):
        assert np.isnan(value) if not pixels else -1e-12 <= value <= 1 + 1e-12
    assert right.ece() == whole.ece() or not pixels
