from dataclasses import replace

import numpy as np
import pytest

from stseg.self_training.snapshot import UNKNOWN, ImageOutput, Snapshot, snapshot_of

CLASSES = ("sky", "road", "Straße, nass")


def output(index, shape=(6, 9), **changes):
    rng = np.random.default_rng(index)
    values = {
        "index": index,
        "image": f"{index}.jpg",
        "label_map": rng.integers(-1, 3, shape).astype(np.int32),
        "confidence": rng.random(shape).astype(np.float32),
        "entropy": float(rng.random()),
        "stable": rng.random(shape) < 0.5,
        "shares": rng.dirichlet(np.ones(3)).astype(np.float32),
    }
    return ImageOutput(**{**values, **changes})


def same(a, b):
    def equal(x, y):
        if isinstance(x, tuple) and x and isinstance(x[0], np.ndarray):
            return len(x) == len(y) and all(map(equal, x, y))
        if isinstance(x, np.ndarray):
            return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True)
        return x == y

    return all(equal(getattr(a, k), getattr(b, k)) for k in Snapshot.__dataclass_fields__)


def test_small_maps_are_kept_pixel_by_pixel():
    given = output(0)
    snapshot = snapshot_of([given], CLASSES)
    assert snapshot.labels[0].dtype == np.uint16
    kept = np.where(snapshot.labels[0] == UNKNOWN, -1, snapshot.labels[0].astype(int))
    assert (kept == given.label_map).all()
    assert snapshot.confidence[0].dtype == np.float16
    assert snapshot.entropy[0] == given.entropy
    shares = [(given.label_map == c).mean() for c in range(3)]
    assert snapshot.class_areas.tolist() == pytest.approx(shares)


def test_large_maps_are_reduced_to_their_cell_centres():
    label = np.kron(np.arange(8).reshape(2, 4) % 3, np.ones((100, 100), dtype=int))
    small = output(0, label.shape, label_map=label).reduced(max_side=4)
    assert small.label_map.tolist() == (np.arange(8).reshape(2, 4) % 3).tolist()
    thin = output(0, (1, 4000), entropy=0.5).reduced()
    maps = thin.label_map, thin.confidence, thin.stable
    assert {m.shape for m in maps} == {(1, 256)} and thin.entropy == 0.5


@pytest.mark.parametrize(
    ("side", "picked"), [(8, [1, 3, 5, 7]), (12, [1, 4, 7, 10]), (9, [1, 3, 5, 7])]
)
def test_of_each_cell_the_pixel_in_its_middle_is_taken(side, picked):
    row = np.arange(side) % 3
    small = output(0, (1, side), label_map=row[None]).reduced(max_side=4)
    assert small.label_map.tolist() == [row[picked].tolist()]


def test_a_saved_snapshot_comes_back_the_same(tmp_path):
    outputs = [output(i, (5 + i, 9)) for i in range(3)]
    cells = [np.random.default_rng(i).random((2, 3, 1 + i)).astype(np.float16) for i in range(3)]
    seen = [replace(o, features=cell) for o, cell in zip(outputs, cells, strict=True)]
    rich = snapshot_of(seen, CLASSES, source_miou=51.25)
    plain = snapshot_of([output(0)], CLASSES)
    for snapshot in (rich, plain):
        snapshot.save(tmp_path / "start.npz")
        assert same(Snapshot.load(tmp_path / "start.npz"), snapshot)
    assert [p.name for p in tmp_path.iterdir()] == ["start.npz"]


def test_answers_of_several_processes_join_in_the_order_of_the_images():
    outputs = [output(i, (4 + i, 6)) for i in range(5)]
    whole = snapshot_of(outputs, CLASSES, source_miou=3.0)
    assert same(snapshot_of(outputs[1::2] + outputs[::-2], CLASSES, source_miou=3.0), whole)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"something else"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "start.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Guard snapshot .*start\.npz"):
        Snapshot.load(path)


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        Snapshot.load(tmp_path / "none.npz")


def test_what_cannot_be_a_snapshot_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        snapshot_of([], CLASSES)
    with pytest.raises(ValueError, match=r"0\.jpg.*one shape"):
        snapshot_of([output(0, confidence=np.zeros((2, 2)))], CLASSES)
    with pytest.raises(ValueError, match=r"0\.jpg.*\[-1, 2\].*7"):
        snapshot_of([output(0, label_map=np.full((6, 9), 7))], CLASSES)
    with pytest.raises(ValueError, match=r"places \[1\] twice"):
        snapshot_of([output(1), output(1)], CLASSES)


def test_some_of_the_images_keep_all_that_is_theirs():
    outputs = [output(i, (5 + i, 9)) for i in range(4)]
    whole = snapshot_of(outputs, CLASSES, source_miou=3.0)
    some = whole.only(["3.jpg", "1.jpg"])
    again = snapshot_of([replace(outputs[3], index=0), outputs[1]], CLASSES, source_miou=3.0)
    assert same(some, again)
    with pytest.raises(KeyError):
        whole.only(["9.jpg"])
