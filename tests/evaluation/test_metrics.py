import json
import logging

import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix
from stseg.evaluation.metrics import (
    DEFINITIONS,
    figures,
    fold_background,
    harmonic_mean,
    per_class,
    top_confusions,
)


def _matrix(counts):
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += np.array(counts)
    return matrix


# Classes 0 to 2 have labels, 3 is predicted only, 4 is nowhere.
COUNTS = [[6, 2, 0, 0, 0], [0, 4, 0, 4, 0], [1, 0, 3, 0, 0], [0] * 5, [0] * 5]
IOU = [6 / 9, 4 / 10, 3 / 4]


def detectron2_figures(prediction, label, num_classes, ignore, union_mean):
    """Detectron2's own formulas: v0.6 as released for `union_mean`, its main branch otherwise."""
    label = np.where(label == ignore, num_classes, label).astype(np.int64)
    cells = np.bincount(
        (num_classes + 1) * prediction.reshape(-1).astype(np.int64) + label.reshape(-1),
        minlength=(num_classes + 1) ** 2,
    ).reshape(num_classes + 1, num_classes + 1)
    tp = cells.diagonal()[:-1].astype(float)
    pos_gt = cells[:-1, :-1].sum(axis=0).astype(float)
    pos_pred = cells[:-1, :-1].sum(axis=1).astype(float)
    union, weights, acc_valid = pos_gt + pos_pred - tp, pos_gt / pos_gt.sum(), pos_gt > 0
    iou_valid = union > 0 if union_mean else acc_valid & (union > 0)
    iou = tp[iou_valid] / union[iou_valid]
    return {
        "mIoU_union" if union_mean else "mIoU_gt": iou.sum() / iou_valid.sum(),
        "fwIoU": (iou * weights[iou_valid]).sum(),
        "mACC": (tp[acc_valid] / pos_gt[acc_valid]).sum() / acc_valid.sum(),
        "pACC": tp.sum() / pos_gt.sum(),
    }


@pytest.mark.parametrize("union_mean", [False, True])
@pytest.mark.parametrize("num_classes", [1, 2, 20, 150, 847])
def test_figures_equal_detectron2_in_both_definitions(num_classes, union_mean):
    rng = np.random.default_rng(num_classes)
    label = rng.integers(0, max(1, num_classes // 2), (40, 50))
    prediction = np.where(rng.random(label.shape) < 0.5, label, rng.integers(0, num_classes))
    label[rng.random(label.shape) < 0.1] = 65535
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, label, ignore=65535)
    ours = figures(matrix)
    for name, value in detectron2_figures(
        prediction, label, num_classes, 65535, union_mean
    ).items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_absent_classes_are_charged_to_the_union_mean_alone():
    result = figures(_matrix(COUNTS))
    assert result["mIoU_gt"] == pytest.approx(np.mean(IOU))
    assert result["mIoU_union"] == pytest.approx(sum(IOU) / 4)
    assert result["absent_loss"] == pytest.approx(np.mean(IOU) * 1 / 4)
    assert result["absent_pixels"] == pytest.approx(4 / 20)


def test_seen_unseen_harmonic_and_interest_are_means_over_labelled_classes():
    seen = np.array([True, False, True, False, True])
    result = figures(_matrix(COUNTS), seen=seen, classes=np.array([0, 1, 1, 1, 1], dtype=bool))
    s, u = (IOU[0] + IOU[2]) / 2, IOU[1]
    assert result["seen_mIoU"] == pytest.approx(s)
    assert result["unseen_mIoU"] == pytest.approx(u)
    assert result["harmonic_mIoU"] == pytest.approx(2 / (1 / s + 1 / u))
    assert result["interest_mIoU"] == pytest.approx((IOU[1] + IOU[2]) / 2)
    assert list(result) == list(DEFINITIONS)


def test_both_definitions_of_seen_and_unseen_are_as_counted_by_hand():
    # Seen: 0, 1 and 4, which is predicted only. Unseen: 2, 3 and 5, which is predicted only.
    counts = [
        [6, 0, 2, 0, 0, 0],
        [0, 3, 0, 0, 1, 0],
        [2, 0, 2, 0, 0, 0],
        [0, 0, 0, 0, 3, 1],
        [0] * 6,
        [0] * 6,
    ]
    result = figures(_matrix(counts), seen=np.array([1, 1, 0, 0, 1, 0], dtype=bool))
    # IoU: 6 of 10, 3 of 4, 2 of 6, 0 of 4, and 0 of what is predicted only.
    expected = {
        "mIoU_gt": (3 / 5 + 3 / 4 + 1 / 3) / 4,
        "seen_mIoU": 27 / 40,
        "unseen_mIoU": 1 / 6,
        "harmonic_mIoU": 2 * (27 / 40) * (1 / 6) / (27 / 40 + 1 / 6),
        "mIoU_union": (3 / 5 + 3 / 4 + 1 / 3) / 6,
        "seen_mIoU_union": 9 / 20,
        "unseen_mIoU_union": 1 / 9,
        "harmonic_mIoU_union": 2 * (9 / 20) * (1 / 9) / (9 / 20 + 1 / 9),
    }
    assert {key: result[key] for key in expected} == pytest.approx(expected)


def test_where_nothing_is_right_the_harmonic_mean_is_zero_in_both_definitions():
    result = figures(_matrix([[0, 4], [4, 0]]), seen=np.array([True, False]))
    assert {result[f"{side}_mIoU"] for side in ("seen", "unseen", "harmonic")} == {0.0}
    assert {result[f"{side}_mIoU_union"] for side in ("seen", "unseen", "harmonic")} == {0.0}


def test_an_empty_side_is_nan_and_named(caplog):
    seen = np.array([True, True, True, False, False])
    with caplog.at_level(logging.WARNING), np.errstate(all="raise"):
        result = figures(_matrix(COUNTS), seen=seen)
    assert np.isnan(result["unseen_mIoU"]) and np.isnan(result["harmonic_mIoU"])
    assert result["seen_mIoU"] == pytest.approx(np.mean(IOU))
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        "No unseen class occurs in the labels"
    ]


def test_the_harmonic_mean_of_two_zeros_is_zero():
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.5, 0.0) == 0.0
    assert np.isnan(harmonic_mean(0.5, float("nan")))


def test_without_pixels_every_figure_is_nan_and_nothing_warns():
    with np.errstate(all="raise"):
        result = figures(ConfusionMatrix(3), classes=np.ones(3, dtype=bool))
        assert all(np.isnan(v) for v in result.values()) and len(result) == 9
        table = per_class(ConfusionMatrix(3))
    assert all(np.isnan(table[key]).all() for key in ("iou", "accuracy", "precision"))


def test_figures_are_plain_floats_that_json_takes():
    assert json.loads(json.dumps(figures(_matrix(COUNTS), seen=np.ones(5, dtype=bool))))


def test_masks_of_another_size_or_type_are_refused():
    with pytest.raises(ValueError, match=r"seen: expected shape \(5,\), got \(4,\)"):
        figures(_matrix(COUNTS), seen=np.ones(4, dtype=bool))
    with pytest.raises(TypeError, match="classes: expected one bool per class, got int64"):
        figures(_matrix(COUNTS), classes=np.array([0, 1, 2, 3, 4]))


def test_the_class_table_tells_absent_from_missed():
    table = per_class(_matrix(COUNTS))
    assert table["iou"][:3] == pytest.approx(IOU) and np.isnan(table["iou"][3:]).all()
    assert table["accuracy"][:3] == pytest.approx([6 / 8, 4 / 8, 3 / 4])
    assert table["precision"][:4] == pytest.approx([6 / 7, 4 / 6, 1, 0])
    assert np.isnan(table["precision"][4])
    assert table["truth"].tolist() == [8, 8, 4, 0, 0]
    assert table["predicted"].tolist() == [7, 6, 3, 4, 0]


def test_top_confusions_are_in_order_of_pixels_and_stable():
    matrix = _matrix(COUNTS)
    expected = [(1, 3, 4, 4 / 8), (0, 1, 2, 2 / 8), (2, 0, 1, 1 / 4)]
    assert top_confusions(matrix, 10) == expected
    assert top_confusions(matrix, 1) == expected[:1]
    assert top_confusions(_matrix([[0, 1, 1], [1, 0, 1], [0, 0, 9]]), 3) == [
        (0, 1, 1, 0.5),
        (0, 2, 1, 0.5),
        (1, 0, 1, 0.5),
    ]
    assert top_confusions(ConfusionMatrix(2), 5) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_background_folds_whatever_lies_beyond_the_objects(dtype):
    prediction = np.array([0, 19, 20, 21, 58], dtype=dtype)
    folded = fold_background(prediction, 21)
    assert folded.tolist() == [0, 19, 20, 20, 20] and folded.dtype == dtype
    assert prediction[-1] == 58


def test_folding_to_more_labels_than_the_type_holds_changes_nothing():
    assert fold_background(np.array([255], dtype=np.uint8), 847).tolist() == [255]
    with pytest.raises(TypeError, match="expected integer ids, got float64"):
        fold_background(np.zeros(2), 21)


def test_voc_20b_scores_as_counted_by_hand():
    label = np.array([0, 1, 20, 20, 255])
    prediction = np.array([0, 40, 33, 2, 50])
    matrix = ConfusionMatrix(21)
    matrix.update(fold_background(prediction, 21), label, ignore=255)
    assert matrix.iou()[[0, 1, 20]] == pytest.approx([1, 0, 1 / 3])


def test_the_union_definition_holds_for_every_group_of_classes():
    matrix = _matrix(COUNTS)
    seen = np.array([True, False, True, False, True])
    interest = np.array([False, True, True, True, True])
    result = figures(matrix, seen=seen, classes=interest)
    iou, occurs = np.nan_to_num(matrix.iou()), matrix.counts.sum(axis=0) + matrix.present > 0
    s, u = iou[seen & occurs].mean(), iou[~seen & occurs].mean()
    assert (occurs & ~matrix.present).sum() == 1  # or the two definitions would not differ
    assert result["seen_mIoU_union"] == pytest.approx(s)
    assert result["unseen_mIoU_union"] == pytest.approx(u)
    assert result["harmonic_mIoU_union"] == pytest.approx(harmonic_mean(s, u))
    assert result["interest_mIoU_union"] == pytest.approx(iou[interest & occurs].mean())
    everything = figures(matrix, seen=np.ones(5, dtype=bool))
    assert everything["seen_mIoU_union"] == pytest.approx(everything["mIoU_union"])
