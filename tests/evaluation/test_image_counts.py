import json

import numpy as np
import pytest

from stseg.evaluation.image_counts import ImageCounts, merge_totals
from stseg.evaluation.run_summary import short_names
from stseg.evaluation.scoring import Score, Settings

ALL = Settings(num_classes=5, boundary=True, replicates=7)


def _maps(seed, confident=True):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, (3, 4)).repeat(5, axis=0).repeat(5, axis=1)
    prediction = np.where(rng.random(label.shape) < 0.3, rng.integers(0, 5, label.shape), label)
    label[:2] = -1
    confidence = rng.random(label.shape).astype(np.float32) if confident else None
    return prediction, label, confidence


def _filled(seeds, settings=ALL):
    counts = ImageCounts(settings)
    for seed in seeds:
        counts.add(f"im{seed}", *_maps(seed))
    return counts


def _total(counts):
    return counts.total({name: name for name in counts.names})


def _assert_equal(first, second):
    """Scores, histograms and numbers of images with confidences."""
    for key in ("pixels", "correct", "steps"):
        assert np.array_equal(getattr(first[1], key), getattr(second[1], key))
    assert np.array_equal(first[0].matrix.counts, second[0].matrix.counts)
    assert first[0].images == second[0].images and first[2] == second[2]
    assert np.array_equal(first[0].bootstrap.sums, second[0].bootstrap.sums)
    assert np.array_equal(first[0].boundary.iou(), second[0].boundary.iou(), equal_nan=True)


def test_the_sum_of_filled_cells_is_the_sum_of_whole_matrices():
    from stseg.evaluation.boundary import BoundaryCounts
    from stseg.evaluation.confusion import ConfusionMatrix

    whole = Score.empty(ALL)
    for seed in range(6):
        prediction, label, _ = _maps(seed)
        matrix, bands = ConfusionMatrix(5), BoundaryCounts(5)
        matrix.update(prediction, label)
        bands.update(prediction, label)
        whole.add(f"im{seed}", matrix, bands)
    score, histogram, confident = _total(_filled(range(6)))
    _assert_equal((score, histogram, confident), (whole, histogram, 6))
    for key in ("both", "truth", "predicted"):
        assert np.array_equal(getattr(score.boundary, key), getattr(whole.boundary, key))
    assert histogram.pixels.sum() == score.matrix.counts.sum() > 0


def test_an_image_with_no_scored_pixel_has_no_figures():
    counts = ImageCounts(Settings(num_classes=3))
    counts.add("void", np.zeros((2, 2), int), np.full((2, 2), -1))
    (row,) = _total(counts)[0].images
    assert row["name"] == "void" and np.isnan(row["mIoU_gt"]) and np.isnan(row["pACC"])


def test_any_split_gives_the_same_total():
    whole = _total(_filled(range(6)))
    parts = [_total(_filled(seeds)) for seeds in ((5, 1), (), (0, 2, 3, 4))]
    _assert_equal(merge_totals(parts, ALL), whole)


def test_a_saved_state_goes_on_where_it_was(tmp_path):
    protocol = {"data set": "x", "ids": (1, 2)}
    before = _filled(range(3))
    before.add("blind", *_maps(8, confident=False))
    before.save(tmp_path / "state.npz", protocol)
    after = _filled([2, 4])  # image 2 was counted again meanwhile
    after.load(tmp_path / "state.npz", protocol)
    assert sorted(after.names) == ["blind", "im0", "im1", "im2", "im4"]
    before.add("im4", *_maps(4))
    _assert_equal(merge_totals([_total(after)], ALL), merge_totals([_total(before)], ALL))
    assert _total(after)[2] == 4  # one came without confidences
    ImageCounts(ALL).save(tmp_path / "empty.npz", protocol)
    after.load(tmp_path / "empty.npz", protocol)
    assert len(after.names) == 5


def test_a_changed_protocol_or_a_damaged_state_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    _filled([0]).save(path, {"weights": "a", "seed": 1})
    with pytest.raises(ValueError, match="state.npz: .*got weights 'a' in the file and 'b' now"):
        ImageCounts(ALL).load(path, {"weights": "b", "seed": 1})
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match="state.npz: expected the state of an evaluation"):
        ImageCounts(ALL).load(path, {"weights": "a", "seed": 1})


def test_confidences_must_fit():
    prediction, label, confidence = _maps(0)
    counts = ImageCounts(ALL)
    with pytest.raises(ValueError, match=r"a.png: .*size \(15, 20\), got \(15, 19\)"):
        counts.add("a", prediction, label, confidence[:, 1:], "a.png")
    with pytest.raises(ValueError, match=r"a.png: expected confidences in \[0, 1\]"):
        counts.add("a", prediction, label, confidence + 1, "a.png")
    assert "a" not in counts


@pytest.mark.parametrize(
    "files, root, expected",
    [
        (["/d/im/a/x.jpg", "/d/im/b/x.jpg"], "/d/im", ["a/x", "b/x"]),
        (["/d/im/a/x.jpg", "/d/im/a/y.jpg"], "/d/im", ["a/x", "a/y"]),
        (["/d/im/a/x.jpg", "/d/im/b/x.jpg"], "", ["a/x", "b/x"]),
        (["/d/im/a/x.jpg"], "/elsewhere", ["x"]),
        (["/d/x.jpg", "/d/x.png"], "", ["x.jpg", "x.png"]),
        (["x.jpg", "b/y.jpg"], "", ["x", "b/y"]),
        (["/d/x.jpg", "y.jpg"], "", ["/d/x.jpg", "y.jpg"]),
        ([], "/d", []),
    ],
)
def test_names_are_the_same_on_another_machine(files, root, expected):
    assert list(short_names(files, root).values()) == expected
    assert list(short_names(files, root)) == files


def test_a_state_is_plain_arrays(tmp_path):
    _filled([0]).save(tmp_path / "s.npz", {"a": 1})
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert json.loads(file["names"].tobytes()) == ["im0"]


def test_saturated_confidences_keep_their_order_through_files(tmp_path):
    counts, rng = ImageCounts(ALL), np.random.default_rng(0)
    for name in "ab":
        prediction, label, _ = _maps(ord(name))
        near_1 = (1 - 10.0 ** -rng.uniform(3, 7, label.shape)).astype(np.float32)
        counts.add(name, prediction, label, near_1)
    counts.save(tmp_path / "s.npz", {})
    again = ImageCounts(ALL)
    again.load(tmp_path / "s.npz", {})
    (_, one, _), (_, other, _) = _total(counts), _total(again)
    assert one.aurc() == other.aurc() and len(one.risk_coverage()[0]) > 50
