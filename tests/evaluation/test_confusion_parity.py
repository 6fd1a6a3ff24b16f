"""The table against two independent counts: pixel by pixel, and scikit-learn's."""

import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix
from stseg.evaluation.metrics import figures

IGNORE = 65535


def random_case(seed):
    """Label and prediction of 1 to 1000 classes; every seventh all-ignored, every fifth 1 pixel."""
    rng = np.random.default_rng(seed)
    num_classes = int(rng.choice([1, 2, 3, 21, 150, 255, 256, 257, 847, 1000]))
    shape = (1, 1) if seed % 5 == 0 else tuple(rng.integers(1, 24, 2))
    drawn = rng.choice(num_classes, size=min(num_classes, int(rng.integers(1, 9))), replace=False)
    label = rng.choice(drawn, shape)
    prediction = np.where(rng.random(shape) < 0.6, label, rng.integers(0, num_classes, shape))
    label[rng.random(shape) < 0.2] = IGNORE
    if seed % 7 == 0:
        label[:] = IGNORE
    return num_classes, prediction.astype(rng.choice([np.uint16, np.int32])), label


def count_by_pixel(prediction, label):
    pairs = zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True)
    cells = {}
    for true, answer in pairs:
        if true != IGNORE:
            cells[true, answer] = cells.get((true, answer), 0) + 1
    return cells


def figures_by_pixel(cells):
    """From sets of pixels, one class after the other."""
    nan = float("nan")
    truth = {t for t, _ in cells}
    either = truth | {p for _, p in cells}
    total = sum(cells.values())
    iou, recall, weighted = {}, {}, 0.0
    for c in either:
        hits = cells.get((c, c), 0)
        labelled = sum(v for (t, _), v in cells.items() if t == c)
        union = sum(v for (t, p), v in cells.items() if c in (t, p))
        iou[c] = hits / union
        if c in truth:
            recall[c] = hits / labelled
            weighted += iou[c] * labelled / total
    return {
        "mIoU_gt": sum(iou[c] for c in truth) / len(truth) if truth else nan,
        "mIoU_union": sum(iou.values()) / len(either) if either else nan,
        "fwIoU": weighted if total else nan,
        "mACC": sum(recall.values()) / len(truth) if truth else nan,
        "pACC": sum(v for (t, p), v in cells.items() if t == p) / total if total else nan,
    }


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_counts_and_figures_equal_a_count_pixel_by_pixel(start):
    for seed in range(start, start + 50):
        num_classes, prediction, label = random_case(seed)
        matrix = ConfusionMatrix(num_classes)
        matrix.update(prediction, label, ignore=IGNORE)
        cells = count_by_pixel(prediction, label)
        at = list(zip(*np.nonzero(matrix.counts), strict=True))
        assert {(int(t), int(p)): int(matrix.counts[t, p]) for t, p in at} == cells, seed
        ours, expected = figures(matrix), figures_by_pixel(cells)
        for name, value in expected.items():
            assert ours[name] == pytest.approx(value, abs=1e-12, nan_ok=True), (seed, name)


def test_the_random_cases_hold_what_they_promise():
    cases = [random_case(seed) for seed in range(200)]
    assert {n for n, _, _ in cases} >= {1, 256, 1000}
    assert sum((label == IGNORE).all() for _, _, label in cases) > 20
    assert sum(label.size == 1 for _, _, label in cases) >= 40
    absent = [set(p[lab != IGNORE].tolist()) - set(lab.ravel().tolist()) for _, p, lab in cases]
    assert sum(map(bool, absent)) > 50


@pytest.mark.parametrize("num_classes", [2, 21, 300])
def test_the_table_equals_scikit_learns(num_classes):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(num_classes)
    prediction, label = rng.integers(0, num_classes, (2, 3000))
    ignored = rng.random(3000) < 0.1
    matrix = ConfusionMatrix(num_classes)
    matrix.update(prediction, np.where(ignored, -1, label))
    expected = metrics.confusion_matrix(
        label[~ignored], prediction[~ignored], labels=np.arange(num_classes)
    )
    assert (matrix.counts == expected).all()
