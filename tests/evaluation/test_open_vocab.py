import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix
from stseg.evaluation.open_vocab import (
    open_figures,
    open_iou,
    similarity,
)

NAMES = ("couch", "sky", "dog", "tree")


def matrix_of(counts):
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += np.array(counts)
    return matrix


def test_near_names_earn_credit_as_counted_by_hand():
    # 6 couch pixels: 4 right, 2 called armchair (0.75 of a couch). 4 armchair pixels, all right.
    matrix = matrix_of([[4, 2, 0], [0, 4, 0], [0, 0, 0]])
    near = np.array([[1, 0.75, 0], [0.75, 1, 0], [0, 0, 1]])
    iou = open_iou(matrix, near)
    assert iou[:2] == pytest.approx([(4 + 1.5) / 6, 4 / (4 + 0.5)]) and np.isnan(iou[2])
    result = open_figures(matrix, near)
    assert result["open_mIoU_gt"] == pytest.approx(iou[:2].mean())
    plain = matrix.summary()["mIoU_gt"]
    assert result["open_gain"] == pytest.approx(result["open_mIoU_gt"] - plain)


def brute_force_open_iou(prediction, label, near):
    """Pixel by pixel."""
    n = len(near)
    hits, missed, false = np.zeros((3, n))
    for true, answer in zip(label, prediction, strict=True):
        hits[true] += near[true, answer]
        missed[true] += 1 - near[true, answer]
        false[answer] += 1 - near[true, answer]
    return np.array(
        [h / (h + m + f) if h + m else np.nan for h, m, f in zip(hits, missed, false, strict=True)]
    )


@pytest.mark.parametrize("seed", range(5))
def test_soft_figures_equal_a_count_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    prediction, label = rng.integers(0, 6, 300), rng.integers(0, 4, 300)
    near = rng.random((6, 6))
    np.fill_diagonal(near, 1)
    matrix = ConfusionMatrix(6)
    matrix.update(prediction, label)
    expected = brute_force_open_iou(prediction, label, near)
    np.testing.assert_allclose(open_iou(matrix, near), expected, atol=1e-12)


def test_the_identity_gives_the_plain_iou_and_nearer_names_never_lower_it():
    rng = np.random.default_rng(0)
    matrix = matrix_of(rng.integers(0, 50, (5, 5)))
    assert open_figures(matrix, np.eye(5))["open_gain"] == 0
    np.testing.assert_array_equal(open_iou(matrix, np.eye(5)), matrix.iou())
    before, near = matrix.iou(), np.eye(5)
    for share in (0.2, 0.6, 1.0):
        near = np.maximum(near, share)
        now = open_iou(matrix, near)
        assert (now > before).all() and now.max() <= 1
        before = now
    assert (before == 1).all()


def test_without_pixels_figures_are_nan_and_nothing_warns():
    with np.errstate(all="raise"):
        assert all(np.isnan(v) for v in open_figures(ConfusionMatrix(2), np.eye(2)).values())


@pytest.mark.parametrize(
    ("near", "words"),
    [
        (np.eye(3), r"expected shape \(2, 2\), got \(3, 3\)"),
        (np.array([[1, -0.5], [0, 1]]), r"values in \[0, 1\], got -0.5"),
        (np.array([[1, np.nan], [0, 1]]), r"values in \[0, 1\]"),
        (np.array([[1, 0], [0, 0.5]]), "1 on the diagonal"),
    ],
)
def test_a_faulty_similarity_is_refused(near, words):
    with pytest.raises(ValueError, match=words):
        open_iou(ConfusionMatrix(2), near)


def test_similarity_is_the_cosine_above_the_floor():
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 0.0]], dtype=np.float32)
    cosine = np.sqrt(0.5)
    near = similarity(vectors)
    assert near[0] == pytest.approx([1, cosine, 0, 0]) and (near == near.T).all()
    assert (near.diagonal() == 1).all()
    assert similarity(vectors, floor=0.5)[0, 1] == pytest.approx((cosine - 0.5) / 0.5)
    assert similarity(vectors, floor=0.8)[0, 1] == 0
    open_iou(ConfusionMatrix(4), near)


def test_faulty_embeddings_are_refused():
    for vectors in (np.zeros((2, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match="finite vectors of a length above 0"):
            similarity(vectors)
    with pytest.raises(ValueError, match=r"shape \(N, C\), got \(3,\)"):
        similarity(np.ones(3))
    with pytest.raises(ValueError, match=r"floor: expected a cosine in \[0, 1\), got 1.0"):
        similarity(np.eye(2), 1.0)


def test_open_union_is_the_plain_one_without_credit_and_drops_what_is_all_credit():
    matrix = ConfusionMatrix(3)
    matrix.counts[:] = [[6, 2, 1], [0, 0, 0], [1, 0, 9]]
    plain = open_figures(matrix, np.eye(3))
    assert plain["open_mIoU_union"] == pytest.approx(matrix.summary()["mIoU_union"])
    near = np.eye(3)
    near[0, 1] = near[1, 0] = 0.5
    assert plain["open_mIoU_union"] < open_figures(matrix, near)["open_mIoU_union"]
    near[0, 1] = near[1, 0] = 1.0
    full = open_figures(matrix, near)
    assert full["open_mIoU_union"] == pytest.approx(full["open_mIoU_gt"])
