import subprocess
import sys

import numpy as np
import pytest

from stseg.evaluation.boundary import BoundaryCounts, TrimapCounts, band_width, inner_band


def eroded(mask):
    """One 3x3 erosion with nothing outside the image."""
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    shifts = [(i, j) for i in range(3) for j in range(3)]
    return np.all([padded[i : i + rows, j : j + columns] for i, j in shifts], axis=0)


def cheng_band(mask, distance):
    """Boundary of Cheng et al.: the mask minus itself eroded `distance` times."""
    inside = mask
    for _ in range(distance):
        inside = eroded(inside)
    return mask & ~inside


def brute_force_iou(prediction, label, num_classes, distance):
    """Class by class, mask by mask; NaN where the label lacks the class."""
    iou = np.full(num_classes, np.nan)
    for c in np.unique(label):
        true, answer = (cheng_band(ids == c, distance) for ids in (label, prediction))
        iou[c] = (true & answer).sum() / (true | answer).sum()
    return iou


def boundary_iou(prediction, label, num_classes, ratio=0.02, **kwargs):
    counts = BoundaryCounts(num_classes, ratio)
    counts.update(np.asarray(prediction), np.asarray(label), **kwargs)
    return counts


def ratio_for(shape, distance):
    ratio = distance / np.hypot(*shape)
    assert band_width(shape, ratio) == distance
    return ratio


def square(side, start, size, inside=1, outside=0):
    ids = np.full((side, side), outside)
    ids[start : start + size, start : start + size] = inside
    return ids


def test_a_square_in_a_square_by_hand():
    # Label: 10 x 10 in 20 x 20. Prediction: the 8 x 8 in its middle. Bands one pixel wide:
    # 36 and 28 pixels of class 1 without one in common. Class 0: the image's frame is 76 in both;
    # the ring around the 10 x 10 has 44 pixels, around the 8 x 8 36, none in common.
    label, prediction = square(20, 5, 10), square(20, 6, 8)
    counts = boundary_iou(prediction, label, 2, ratio_for(label.shape, 1))
    assert counts.truth.tolist() == [76 + 44, 36]
    assert counts.predicted.tolist() == [76 + 36, 28]
    assert counts.both.tolist() == [76, 0]
    # Two pixels wide, the bands of the squares share the ring of the 8 x 8: 28 pixels.
    counts = boundary_iou(prediction, label, 2, ratio_for(label.shape, 2))
    assert counts.truth[1] == 100 - 36 and counts.predicted[1] == 64 - 16
    assert counts.both[1] == 28
    assert counts.iou()[1] == pytest.approx(28 / (64 + 48 - 28))


def test_a_line_of_one_pixel_is_all_band():
    label = np.zeros((20, 20), dtype=int)
    label[10, 3:17] = 1
    prediction = np.zeros_like(label)
    prediction[10, 3:10] = 1
    for distance in (1, 3):
        counts = boundary_iou(prediction, label, 2, ratio_for(label.shape, distance))
        assert counts.truth[1] == 14 and counts.iou()[1] == 0.5
    prediction = np.roll(label, 1, axis=0)
    assert boundary_iou(prediction, label, 2).iou()[1] == 0


def test_the_image_border_is_a_boundary():
    ids = np.zeros((12, 12), dtype=int)
    ids[:, 6:] = 1  # 12 x 6 against the right border
    counts = boundary_iou(ids, ids, 2, ratio_for(ids.shape, 1))
    assert counts.truth.tolist() == [72 - 10 * 4] * 2
    whole = np.zeros((12, 12), dtype=int)
    assert boundary_iou(whole, whole, 1, ratio_for(whole.shape, 1)).truth.tolist() == [44]


def test_class_5_on_class_2_is_not_class_3():
    label, prediction = square(20, 5, 10, 5, 2), square(20, 6, 10, 5, 2)
    counts = boundary_iou(prediction, label, 8, ratio_for(label.shape, 1))
    assert np.flatnonzero(counts.truth).tolist() == [2, 5]
    assert np.flatnonzero(counts.predicted).tolist() == [2, 5]
    expected = brute_force_iou(prediction, label, 8, 1)
    np.testing.assert_array_equal(counts.iou(), expected)
    assert counts.both[5] == 2  # two outlines shifted by (1, 1) cross in two pixels


@pytest.mark.parametrize("num_classes", [1, 3, 256, 1000])
def test_any_number_of_classes_equals_erosion_class_by_class(num_classes):
    rng = np.random.default_rng(num_classes)
    for _ in range(3):
        shape = tuple(rng.integers(1, 40, 2))
        cells = rng.integers(0, num_classes, (10, 10))
        label = cells.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
        prediction = np.where(rng.random(shape) < 0.02, rng.integers(0, num_classes), label)
        for ratio in (0.001, 0.1, 1.0):
            counts = boundary_iou(prediction, label, num_classes, ratio)
            expected = brute_force_iou(prediction, label, num_classes, band_width(shape, ratio))
            np.testing.assert_allclose(counts.iou(), expected, rtol=0, atol=1e-12)


def test_bands_equal_the_papers_own_code_with_opencv():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    ids = cv2.resize(rng.integers(0, 3, (5, 7)).astype(np.uint8), (90, 70), interpolation=0)
    distance = band_width(ids.shape, 0.02)
    band = inner_band(ids, np.ones(ids.shape, dtype=bool), distance)
    for c in range(3):
        mask = np.pad((ids == c).astype(np.uint8), 1)
        kept = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
        assert ((band & (ids == c)) == (mask[1:-1, 1:-1] - kept).astype(bool)).all()


def test_the_width_is_two_percent_of_the_diagonal():
    assert band_width((512, 683), 0.02) == 17
    assert band_width((3, 4), 0.02) == 1


def brute_force_near_another(ids, counted, distance, outside_differs):
    """Window by window, from the definition with ignored pixels."""
    rows, columns = ids.shape
    near = np.zeros(ids.shape, dtype=bool)
    for y, x in np.argwhere(counted):
        top, left = max(0, y - distance), max(0, x - distance)
        window = np.s_[top : y + distance + 1, left : x + distance + 1]
        leaves = min(y, x, rows - 1 - y, columns - 1 - x) < distance
        near[y, x] = (counted[window] & (ids[window] != ids[y, x])).any() or (
            leaves and outside_differs
        )
    return near


@pytest.mark.parametrize("seed", range(6))
def test_ignored_pixels_make_no_edge_and_are_counted_nowhere(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (4, 4)).repeat(5, 0).repeat(5, 1)
    prediction = np.roll(label, 1, axis=seed % 2)
    label[rng.random((4, 4)).repeat(5, 0).repeat(5, 1) < 0.3] = 255
    counted = label != 255
    for distance in (1, 3):
        counts = boundary_iou(prediction, label, 3, distance / np.hypot(20, 20), ignore=255)
        bands = [
            brute_force_near_another(ids, counted, distance, True) for ids in (prediction, label)
        ]
        assert counts.predicted.tolist() == np.bincount(prediction[bands[0]], minlength=3).tolist()
        assert counts.truth.tolist() == np.bincount(label[bands[1]], minlength=3).tolist()
        anything = np.where(counted, prediction, rng.integers(-9, 999, label.shape))
        again = boundary_iou(anything, label, 3, distance / np.hypot(20, 20), ignore=255)
        assert again.both.tolist() == counts.both.tolist()
        assert again.predicted.tolist() == counts.predicted.tolist()


def test_a_class_that_touches_only_ignored_pixels_has_no_boundary():
    label = np.full((20, 20), 255)
    label[8:12, 8:12] = 1
    counts = boundary_iou(np.ones_like(label), label, 2, ignore=255)
    assert counts.truth.tolist() == [0, 0]
    assert np.isnan(counts.iou()).all()
    assert all(np.isnan(v) for v in counts.summary().values())


def test_the_two_means_part_where_a_class_is_predicted_and_absent():
    label = square(20, 5, 10)
    prediction = label.copy()
    prediction[0, 0] = 3
    summary = boundary_iou(prediction, label, 4).summary()
    assert summary["boundary_mIoU_union"] == pytest.approx(summary["boundary_mIoU_gt"] * 2 / 3)
    assert boundary_iou(label, label, 4).summary() == {
        "boundary_mIoU_gt": 1.0,
        "boundary_mIoU_union": 1.0,
    }


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 9), (9, 1)])
def test_maps_of_any_size_are_counted(shape):
    ids = np.zeros(shape, dtype=np.uint8)
    assert boundary_iou(ids, ids, 1).both.tolist() == [ids.size]
    trimap = TrimapCounts(1)
    trimap.update(ids, ids)
    assert trimap.matrices[0].counts.sum() == 0


def test_merging_equals_counting_together():
    rng = np.random.default_rng(0)
    whole, parts = BoundaryCounts(4), [BoundaryCounts(4), BoundaryCounts(4)]
    wholes, trimaps = TrimapCounts(4, [1, 3]), [TrimapCounts(4, [1, 3]), TrimapCounts(4, [1, 3])]
    for i in range(4):
        pair = rng.integers(0, 4, (2, 9, 9))
        for counts in (whole, parts[i % 2], wholes, trimaps[i % 2]):
            counts.update(*pair)
    parts[1].merge(parts[0])
    trimaps[1].merge(trimaps[0])
    for name in ("both", "truth", "predicted"):
        assert (getattr(parts[1], name) == getattr(whole, name)).all()
    for a, b in zip(trimaps[1].matrices, wholes.matrices, strict=True):
        assert (a.counts == b.counts).all()
    with pytest.raises(ValueError, match=r"expected \(classes, ratio\) \(4, 0.02\), got \(4, 0.1"):
        whole.merge(BoundaryCounts(4, 0.1))
    with pytest.raises(ValueError, match=r"expected widths \(1, 3\), got \(1,\)"):
        wholes.merge(TrimapCounts(4, [1]))


def test_faulty_input_is_named():
    ids = np.zeros((3, 3), dtype=int)
    with pytest.raises(ValueError, match=r"a\.png: expected label ids in \[0, 1\], got 7"):
        boundary_iou(ids, ids + 7, 2, name="a.png")
    with pytest.raises(ValueError, match=r"maps of \(H, W\), got shape \(9,\)"):
        boundary_iou(ids.ravel(), ids.ravel(), 2)
    with pytest.raises(ValueError, match="of one size"):
        boundary_iou(ids, ids[:2], 2)
    with pytest.raises(ValueError, match="distance_ratio"):
        BoundaryCounts(2, 0.0)
    for widths in ([], [0], [1, 1]):
        with pytest.raises(ValueError, match="widths"):
            TrimapCounts(2, widths)


def test_a_trimap_by_hand():
    label = np.zeros((10, 10), dtype=int)
    label[:, 5:] = 1
    prediction = np.zeros((10, 10), dtype=int)
    prediction[:, 6:] = 1  # one column late
    trimap = TrimapCounts(2, widths=[1, 2, 50])
    trimap.update(prediction, label)
    assert trimap.matrices[0].counts.tolist() == [[10, 0], [10, 0]]
    assert trimap.matrices[1].counts.tolist() == [[20, 0], [10, 10]]
    assert trimap.matrices[2].counts.tolist() == [[50, 0], [10, 40]]
    assert trimap.summary() == pytest.approx(
        {
            "trimap_mIoU_gt_1": (1 / 2 + 0) / 2,
            "trimap_mIoU_gt_2": (2 / 3 + 1 / 2) / 2,
            "trimap_mIoU_gt_50": (5 / 6 + 4 / 5) / 2,
        }
    )


def test_a_trimap_wider_than_the_image_takes_every_pixel_of_an_image_with_an_edge():
    trimap = TrimapCounts(3, widths=[50])
    for label in ([[0, 1]], [[0], [1]], [[0, 0, 1]], [[2, 2, 2]]):
        trimap.update(np.array(label), np.array(label))
    assert trimap.matrices[0].counts.tolist() == [[4, 0, 0], [0, 3, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_a_trimap_equals_brute_force_with_ignored_pixels(seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 300, (4, 4)).repeat(4, 0).repeat(4, 1)
    label[rng.random(label.shape) < 0.3] = 65535
    prediction = rng.integers(0, 300, label.shape)
    trimap = TrimapCounts(300, widths=[2])
    trimap.update(prediction, label, ignore=65535)
    band = brute_force_near_another(label, label != 65535, 2, False)
    expected = np.zeros((300, 300), dtype=int)
    np.add.at(expected, (label[band], prediction[band]), 1)
    assert (trimap.matrices[0].counts == expected).all()


def test_847_classes_stay_far_below_two_gigabytes():
    code = (
        "import resource, sys, numpy as np\n"
        "sys.modules['torch'] = None  # keeps the start short\n"
        "from stseg.evaluation.boundary import BoundaryCounts\n"
        "ids = np.arange(512 * 683).reshape(512, 683) // 400 % 847\n"
        "counts = BoundaryCounts(847)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "counts.update(ids, ids[:, ::-1])\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "assert (counts.truth > 0).all() and grown < 100_000, grown\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
