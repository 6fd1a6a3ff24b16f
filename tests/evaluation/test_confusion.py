import subprocess
import sys

import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix


def _brute_force(prediction, label, num_classes, ignore):
    """The figures from their definitions, pixel set by pixel set."""
    kept = label != ignore
    prediction, label = prediction[kept], label[kept]
    ious, gt_ious, accuracies, weighted = [], [], [], 0.0
    for c in range(num_classes):
        true, answer = label == c, prediction == c
        if not (true | answer).any():
            continue
        iou = (true & answer).sum() / (true | answer).sum()
        ious.append(iou)
        if true.any():
            gt_ious.append(iou)
            accuracies.append((true & answer).sum() / true.sum())
            weighted += iou * true.mean()
    return {
        "mIoU_gt": np.mean(gt_ious),
        "mIoU_union": np.mean(ious),
        "fwIoU": weighted,
        "mACC": np.mean(accuracies),
        "pACC": (prediction == label).mean(),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_figures_equal_brute_force(seed, dtype):
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 2, 4, 255], (30, 40)).astype(dtype)
    prediction = np.where(rng.random((30, 40)) < 0.6, label % 6, rng.integers(0, 6, (30, 40)))
    prediction = prediction.astype(dtype)
    matrix = ConfusionMatrix(7)
    matrix.update(prediction, label, ignore=255)
    expected = _brute_force(prediction, label, 7, 255)
    assert matrix.summary() == pytest.approx(expected, abs=1e-12)
    assert expected["mIoU_gt"] > expected["mIoU_union"]


def test_the_two_mean_ious_part_where_a_class_is_predicted_and_absent():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1]))
    assert matrix.counts.tolist() == [[2, 0, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]
    assert matrix.summary()["mIoU_gt"] == pytest.approx((1 + 0.5) / 2)
    assert matrix.summary()["mIoU_union"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert matrix.iou()[:2].tolist() == [1.0, 0.5] and np.isnan(matrix.iou()[2:]).all()
    assert matrix.present.tolist() == [True, True, False, False]


def test_sixteen_bit_ids_do_not_wrap_around():
    label = np.array([846, 300, 65535], dtype=np.uint16)
    prediction = np.array([846, 44, 0], dtype=np.uint16)
    matrix = ConfusionMatrix(847)
    matrix.update(prediction, label, ignore=65535)
    assert matrix.counts[846, 846] == 1 and matrix.counts[300, 44] == 1
    assert matrix.counts.sum() == 2


def test_several_ids_may_be_ignored():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 0, 2]), np.array([0, -1, 255, 2]), ignore=[-1, 255])
    assert matrix.counts.sum() == 2


def test_merging_equals_counting_together():
    rng = np.random.default_rng(0)
    pairs = [rng.integers(0, 5, (2, 50)) for _ in range(4)]
    whole, left, right = ConfusionMatrix(5), ConfusionMatrix(5), ConfusionMatrix(5)
    for i, (prediction, label) in enumerate(pairs):
        whole.update(prediction, label)
        (left if i % 2 else right).update(prediction, label)
    left.merge(right)
    assert (left.counts == whole.counts).all()
    with pytest.raises(ValueError, match="expected 5 classes to merge, got 6"):
        left.merge(ConfusionMatrix(6))


@pytest.mark.parametrize("label", [[], [-1, -1]])
def test_without_counted_pixels_every_figure_is_nan_and_nothing_warns(label):
    matrix = ConfusionMatrix(3)
    with np.errstate(all="raise"):
        matrix.update(np.zeros(len(label), dtype=int), np.array(label, dtype=int))
        assert all(np.isnan(v) for v in matrix.summary().values())


def test_ids_out_of_range_are_named():
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"a\.png: expected label ids in \[0, 2\], got 3, 255"):
        matrix.update(np.array([0, 0, 0]), np.array([1, 255, 3]), name="a.png")
    with pytest.raises(ValueError, match=r"expected prediction ids in \[0, 2\], got -2"):
        matrix.update(np.array([-2]), np.array([1]))
    assert matrix.counts.sum() == 0


def test_scores_and_unlike_sizes_are_refused():
    matrix = ConfusionMatrix(3)
    with pytest.raises(TypeError, match="integer prediction ids, got float"):
        matrix.update(np.zeros(2), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match=r"one size, got \(2,\) and \(3,\)"):
        matrix.update(np.zeros(2, dtype=int), np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ConfusionMatrix(0)


def test_the_core_imports_without_torch_and_detectron2():
    code = (
        "import sys\n"
        "for name in ('torch', 'detectron2', 'fvcore'): sys.modules[name] = None\n"
        "from stseg.evaluation.confusion import ConfusionMatrix\n"
        "import stseg.evaluation, stseg.data.image_io\n"
        "ConfusionMatrix(3)\n"
        "try: stseg.evaluation.build_evaluator\n"
        "except ImportError as error: assert '--install-detectron2' in str(error)\n"
        "else: raise AssertionError('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_saved_matrix_comes_back_and_keeps_counting(tmp_path):
    matrix = ConfusionMatrix(847)
    rng = np.random.default_rng(0)
    matrix.update(*rng.integers(0, 847, (2, 900)))
    matrix.save(tmp_path / "a.npz")
    loaded = ConfusionMatrix.load(str(tmp_path / "a.npz"))
    assert loaded.num_classes == 847 and (loaded.counts == matrix.counts).all()
    loaded.update(*rng.integers(0, 847, (2, 9)))
    loaded.save(tmp_path / "a.npz")
    assert ConfusionMatrix.load(tmp_path / "a.npz").counts.sum() == 909
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def _truncated(path):
    ConfusionMatrix(200).save(path)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda p: p.write_bytes(b"no archive"), "expected a file of ConfusionMatrix.save"),
        (lambda p: p.write_bytes(b""), "expected a file of ConfusionMatrix.save"),
        (_truncated, "expected a file of ConfusionMatrix.save"),
        (lambda p: np.savez(p, other=np.zeros(3)), "expected a file of ConfusionMatrix.save"),
        (lambda p: np.savez(p, counts=np.array([{}])), "expected a file of ConfusionMatrix.save"),
        (lambda p: np.save(p.open("wb"), np.zeros((2, 2))), "a file of ConfusionMatrix.save"),
        (lambda p: np.savez(p, counts=np.zeros((2, 3), np.int64)), "square int64 counts"),
        (lambda p: np.savez(p, counts=np.zeros((2, 2))), "square int64 counts"),
        (lambda p: np.savez(p, counts=np.full((2, 2), -1)), "square int64 counts"),
        (lambda p: np.savez(p, counts=np.zeros((0, 0), np.int64)), "square int64 counts"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, fill, words):
    fill(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=f"b.npz: .*{words}"):
        ConfusionMatrix.load(tmp_path / "b.npz")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"c\.npz"):
        ConfusionMatrix.load(tmp_path / "c.npz")


def test_ids_that_carry_no_class_are_to_be_given_as_ignore():
    with pytest.raises(
        ValueError, match=r"got 255\. Ids that carry no class are given as `ignore`"
    ):
        ConfusionMatrix(2).update(np.array([0, 1]), np.array([0, 255]))
    with pytest.raises(TypeError, match="prediction ids as a NumPy array, got list"):
        ConfusionMatrix(2).update([0, 1], np.array([0, 1]))
