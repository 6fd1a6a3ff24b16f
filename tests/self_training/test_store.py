import dataclasses
import errno
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from stseg.data.image_io import read_label
from stseg.self_training import store as store_module
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.self_training.store import DiskFullError, PseudoLabelStore
from stseg.self_training.store_key import StoreKey

NAMES = ("cat", "dog", "cow")


def make_store(tmp_path, count=7, names=NAMES, round_number=1, **parts):
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    paths = [images / f"photo {i}.jpg" for i in range(count)]
    for path in paths:
        path.write_bytes(b"jpeg")
    defaults = {"weights": "w", "vocabulary": "v", "settings": {"gate": 0.9}}
    key = StoreKey.of(images=paths, **{**defaults, **parts})
    return PseudoLabelStore(tmp_path / "out", round_number, key, names)


def record(class_id, accepted=True, pixels=4):
    reason = "" if accepted else "score 0.40 below 0.90"
    return ClassRecord(class_id, NAMES[class_id % 3], 0.95, accepted, reason, 6, pixels, 0.8)


def make_label(seed=0, shape=(4, 6), classes=3):
    labels = np.random.default_rng(seed).integers(-1, classes, shape).astype(np.int32)
    initial = np.maximum(labels, 0)
    return PseudoLabel(labels, initial, (record(0), record(1, accepted=False, pixels=0)))


def fill(store):
    for index in store.missing():
        store.write(index, make_label(index))
    return store


def test_what_was_written_is_read(tmp_path):
    store = make_store(tmp_path).open()
    label = make_label()
    store.write(2, label, keep_initial=True)
    store.write(3, label)
    read = store.read(2)
    assert read.label_map.dtype == np.int32
    assert np.array_equal(read.label_map, label.label_map)
    assert np.array_equal(read.initial, label.initial)
    assert read.classes == label.classes == store.image_record(2).classes
    assert store.read(3).initial is None
    assert store.image_record(2).coverage == pytest.approx(label.coverage)
    assert (store.image_record(2).height, store.image_record(2).width) == (4, 6)
    assert [store.is_done(i) for i in range(4)] == [False, False, True, True]
    assert not list(store.folder.rglob("*.tmp"))


def test_weights_lie_beside_labels_in_eight_bits_and_training_is_told(tmp_path):
    store, label = make_store(tmp_path, count=2).open(), make_label(shape=(2, 3))
    weights = np.array([[0, 0.25, 0.5], [0.75, 0.9, 1]], np.float32)
    store.write(0, dataclasses.replace(label, weights=weights), size=(4, 6))
    store.write(1, label, size=(4, 6))
    read, plain = store.read(0), store.read(1)
    assert read.weights.dtype == np.float32 and plain.weights is None
    np.testing.assert_allclose(read.weights, np.kron(weights, np.ones((2, 2))), atol=0.5 / 255)
    assert np.array_equal(read.label_map, plain.label_map)
    store.finish()
    one, other = store.records_for_training()
    assert other.keys() == {"file_name", "sem_seg_file_name"}
    assert set(one) - set(other) == {"sem_seg_weight_file_name"}
    weight = store.folder / "weights" / "000000_photo_0.png"
    assert one["sem_seg_weight_file_name"] == str(weight) and weight.exists()


def test_without_weights_a_store_is_what_it_was_before_there_were_any(tmp_path):
    store = fill(make_store(tmp_path).open())
    store.finish()
    found = {path.name for path in store.folder.iterdir()}
    assert found == {"labels", "initial", "records", "manifest.json", "summary.json"}
    assert json.loads((store.folder / "manifest.json").read_bytes())["version"] == 2


@pytest.mark.parametrize("count, mode", [(254, "L"), (255, "I;16"), (300, "I;16")])
def test_bits_follow_the_number_of_classes(tmp_path, count, mode):
    store = make_store(tmp_path, names=[f"class {i}" for i in range(count)]).open()
    labels = np.array([[-1, 0, count - 1]], dtype=np.int32)
    store.write(0, PseudoLabel(labels, labels, ()))
    (file,) = (store.folder / "labels").iterdir()
    assert Image.open(file).mode == mode
    assert np.array_equal(store.read_labels(0), labels)
    # The reader of training data sees the same.
    assert np.array_equal(read_label(file, count, (store.ignore_value,)), labels)


def test_more_classes_than_sixteen_bits_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 65535 classes, got 70000"):
        make_store(tmp_path, names=["x"] * 70000)


def test_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        make_store(tmp_path, count=0)


def test_a_label_outside_the_vocabulary_is_refused_and_leaves_nothing(tmp_path):
    store = make_store(tmp_path).open()
    labels = np.full((2, 2), 3, dtype=np.int32)
    with pytest.raises(ValueError, match="expected ids in"):
        store.write(0, PseudoLabel(labels, labels, ()))
    assert not store.is_done(0) and not list((store.folder / "labels").iterdir())


def test_a_smaller_map_is_written_at_the_size_of_the_image(tmp_path):
    store = make_store(tmp_path).open()
    labels = np.array([[0, 1], [2, -1]], dtype=np.int32)
    store.write(0, PseudoLabel(labels, labels, (record(0),)), size=(4, 6), keep_initial=True)
    expected = labels.repeat(2, axis=0).repeat(3, axis=1)
    assert np.array_equal(store.read(0).label_map, expected)
    assert np.array_equal(store.read(0).initial, expected)
    assert store.image_record(0).label_pixels == {0: 6, 1: 6, 2: 6}


def test_an_odd_size_takes_the_label_at_the_centre_of_each_cell(tmp_path):
    store = make_store(tmp_path).open()
    labels = np.array([[0, 1, 2]], dtype=np.int32)
    store.write(0, PseudoLabel(labels, labels, ()), size=(2, 5))
    # Centres 0.3, 0.9, 1.5, 2.1, 2.7 of three cells.
    assert store.read_labels(0).tolist() == [[0, 0, 1, 2, 2]] * 2


@pytest.mark.parametrize("world_size", [1, 2, 3, 9])
def test_ranks_share_the_images_without_gap_or_overlap(tmp_path, world_size):
    store = make_store(tmp_path).open()
    shares = [store.take_stock(rank, world_size)[0] for rank in range(world_size)]
    assert [i for share in shares for i in share] == list(range(7))
    assert max(map(len, shares)) <= -(-7 // world_size)


def test_a_rank_outside_the_world_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected 0 to 1, got 2"):
        make_store(tmp_path).take_stock(2, 2)


@pytest.mark.parametrize("fatal_write", [1, 2, 3])
def test_a_kill_between_the_files_of_an_image_leaves_it_to_do(tmp_path, monkeypatch, fatal_write):
    store = make_store(tmp_path).open()
    store.write(0, make_label())
    calls = []

    def killed(path, content):
        calls.append(path)
        if len(calls) == fatal_write:
            raise KeyboardInterrupt
        real(path, content)

    real = store_module.write_atomically
    monkeypatch.setattr(store_module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write(1, make_label(), keep_initial=True)
    assert [path.parent.name for path in calls] == ["initial", "labels", "records"][:fatal_write]
    again = make_store(tmp_path).open()
    assert 1 in again.missing() and 0 not in again.missing()


def test_a_deleted_label_is_to_do_again(tmp_path):
    store = fill(make_store(tmp_path).open())
    store.finish()
    next((store.folder / "labels").glob("000003_*")).unlink()
    assert store.missing() == [3] and store.take_stock() == ([3], 0)
    with pytest.raises(ValueError, match="1 missing"):
        store.finish()


def test_another_key_has_another_folder(tmp_path):
    first = fill(make_store(tmp_path).open())
    for parts in [{"weights": "w2"}, {"vocabulary": "v2"}, {"settings": {"gate": 0.8}}]:
        other = make_store(tmp_path, **parts).open()
        assert other.folder != first.folder and len(other.missing()) == 7
    assert make_store(tmp_path, round_number=2).folder != first.folder
    assert not first.missing()


def test_a_folder_of_another_key_is_refused(tmp_path):
    first, other = make_store(tmp_path).open(), make_store(tmp_path, weights="w2")
    first.folder.rename(other.folder)
    with pytest.raises(ValueError, match="got another digest, weights. Move the folder"):
        other.open()


def test_a_folder_of_another_version_is_refused(tmp_path):
    store = make_store(tmp_path).open()
    path = store.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))
    with pytest.raises(ValueError, match=f"{store.folder}.* got another version. Move the folder"):
        make_store(tmp_path).open()


def test_folders_that_are_not_taken_are_named_with_what_they_differ_in(tmp_path):
    kept = fill(make_store(tmp_path, settings={"gate": 0.8, "dtypes": ["fp32"]}).open())
    others = [
        make_store(tmp_path, settings={"gate": 0.8}).open(),
        make_store(tmp_path, settings={"gate": 0.9, "dtypes": ["fp32"]}, weights="w2").open(),
    ]
    make_store(tmp_path, round_number=2).open()
    broken = kept.folder.with_name("round_01-broken")
    broken.mkdir()
    earlier = kept.folder.with_name("round_01-earlier")
    earlier.mkdir()
    (earlier / "manifest.json").write_text('{"version": 1, "settings": {"max_side": 1024}}')
    assert set(kept.refused()) == {
        f"{earlier} is of another version of the program",
        f"{others[0].folder} differs in settings.dtypes",
        f"{others[1].folder} differs in settings.gate, weights",
        f"{broken} has no manifest that can be read",
    }


@pytest.mark.parametrize("content", [b"", b'{"format": ', b"[]", b"\xff\xfe"])
def test_a_broken_manifest_is_named(tmp_path, content):
    store = make_store(tmp_path).open()
    (store.folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest .*manifest\.json: expected.*Remove the folder"):
        store.open()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"classes": [{"a": 1}]}'])
def test_a_broken_record_is_named(tmp_path, content):
    store = fill(make_store(tmp_path).open())
    path = next((store.folder / "records").iterdir())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name}.*Delete this file"):
        store.image_record(int(path.name[:6]))


def test_the_manifest_holds_the_key_in_full(tmp_path):
    store = make_store(tmp_path, count=2).open()
    manifest = json.loads((store.folder / "manifest.json").read_bytes())
    assert manifest["digest"] == store.key.digest and manifest["settings"] == {"gate": 0.9}
    assert manifest["class_names"] == list(NAMES)
    content = hashlib.blake2b(b"jpeg", digest_size=16).hexdigest()
    assert manifest["images"][1] == {"name": "photo 1.jpg", "content": content}


def test_images_that_share_a_stem_do_not_share_files(tmp_path):
    names = ["a.jpg", "a.png", "sub/a.jpg", "ünï\ncode.jpg", f"{'long' * 60}.jpg", "bad\udcff.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    paths = [tmp_path / name for name in names]
    key = StoreKey.of(weights="w", vocabulary="v", settings={}, images=paths)
    store = fill(PseudoLabelStore(tmp_path / "out", 1, key, NAMES).open())
    store.finish()
    for index in range(len(names)):
        assert np.array_equal(store.read_labels(index), make_label(index).label_map)
        assert store.image_record(index).image == paths[index].name


def test_training_leaves_out_images_without_labels(tmp_path):
    store = make_store(tmp_path, count=3).open()
    empty = np.full((4, 6), -1, dtype=np.int32)
    for index, labels in enumerate([make_label().label_map, empty, make_label(1).label_map]):
        store.write(index, PseudoLabel(labels, labels, ()))
    with pytest.raises(ValueError, match="expected counts of all images, got none yet"):
        store.records_for_training()
    store.finish()
    assert store.classes_for_training() == [(0, 1, 2), (0, 1, 2)]
    records = store.records_for_training()
    assert [r["file_name"] for r in records] == [str(store.key.images[i]) for i in (0, 2)]
    assert all(set(r) == {"file_name", "sem_seg_file_name"} for r in records)
    labels = read_label(records[1]["sem_seg_file_name"], 3, (store.ignore_value,))
    assert np.array_equal(labels, make_label(1).label_map)


def test_finish_refuses_when_images_are_missing(tmp_path):
    store = make_store(tmp_path).open()
    for index in (0, 1, 2, 4, 5):
        store.write(index, make_label())
    with pytest.raises(ValueError, match=r"2 missing \(photo 3.jpg, photo 6.jpg\)"):
        store.finish()
    assert store.counts is None and not (store.folder / "summary.json").exists()


def test_finish_sums_up(tmp_path):
    store = make_store(tmp_path, count=2).open()
    first = np.array([[0, 0, 1, -1]], dtype=np.int32)
    store.write(0, PseudoLabel(first, first, (record(0), record(1), record(2, accepted=False))))
    store.write(1, PseudoLabel(np.full_like(first, -1), first, (record(0, accepted=False),)))
    (store.folder / "labels" / ".old.png.123.tmp").write_bytes(b"left by a killed process")
    summary = store.finish()
    assert not list(store.folder.rglob(".*.tmp"))
    assert summary == json.loads((store.folder / "summary.json").read_bytes())
    assert (summary["images"], summary["images_without_labels"]) == (2, 1)
    assert summary["coverage"] == 3 / 8 and summary["never_accepted"] == ["cow"]
    cat = summary["classes"][0]
    assert cat == {
        "id": 0, "name": "cat", "coverage": 0.25, "pixels": 2,
        "images_found": 2, "images_accepted": 1,
    }  # fmt: skip
    summary_bytes = (store.folder / "summary.json").stat().st_size
    assert summary["disk_use"] == store.disk_use() - summary_bytes > 0
    again = make_store(tmp_path, count=2).open()  # read back, by two processes
    parts = []
    for rank in (1, 0):
        assert again.take_stock(rank, 2) == ([], 0)
        parts.append(again.own_counts)
    (store.folder / "summary.json").write_text("{")  # damaged
    assert again.finish(parts) == summary
    assert json.loads((store.folder / "summary.json").read_bytes()) == summary


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_what_is_kept_and_how_to_go_on(tmp_path, monkeypatch):
    store = make_store(tmp_path).open()
    for index in (0, 1):
        store.write(index, make_label(index))
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(DiskFullError) as caught:
        store.write(2, make_label(2), keep_initial=True)
    text = str(caught.value)
    assert caught.value.errno == errno.ENOSPC and str(store.folder) in text
    assert "2 of 7 images" in text and "stay valid" in text and "run the same command again" in text
    assert "MB more" in text
    assert not list(store.folder.rglob("*.tmp")) and not list((store.folder / "initial").iterdir())
    monkeypatch.undo()
    again = make_store(tmp_path).open()
    again.take_stock()
    fill(again).finish()
    assert np.array_equal(again.read_labels(0), make_label(0).label_map)


@pytest.mark.parametrize("call", ["open", "finish"])
def test_a_full_disk_is_explained_at_the_manifest_and_the_summary(tmp_path, monkeypatch, call):
    store = make_store(tmp_path)
    if call == "finish":
        fill(store.open())
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(DiskFullError, match="Make room"):
        getattr(store, call)()


def test_a_full_disk_does_not_stop_what_is_written_already(tmp_path, monkeypatch):
    summary = fill(make_store(tmp_path).open()).finish()
    monkeypatch.setattr("os.fsync", full_disk)
    again = make_store(tmp_path).open()
    assert again.take_stock() == ([], 0)
    assert again.finish() == summary


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path, monkeypatch):
    store = make_store(tmp_path).open()

    def denied(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("os.fsync", denied)
    with pytest.raises(PermissionError):
        store.write(0, make_label())


def test_moved_images_go_on_in_the_same_folder(tmp_path):
    store = fill(make_store(tmp_path).open())
    key = store.key
    moved = dataclasses.replace(key, images=tuple(tmp_path / "new" / p.name for p in key.images))
    again = PseudoLabelStore(tmp_path / "out", 1, moved, NAMES).open()
    assert again.folder == store.folder and again.take_stock() == ([], 0)
    again.finish()
    assert again.records_for_training()[0]["file_name"] == str(tmp_path / "new" / "photo 0.jpg")


@pytest.mark.parametrize("what", ["labels", "records", "initial", "weights"])
@pytest.mark.parametrize("share", [0, 0.5, None])
def test_what_is_damaged_is_missing_and_made_anew(tmp_path, what, share):
    store, weights = make_store(tmp_path).open(), np.random.rand(40, 60).astype(np.float32)
    for index in store.missing():
        label = dataclasses.replace(make_label(index, (40, 60)), weights=weights)
        store.write(index, label, keep_initial=True)
    store.finish()
    assert store.take_stock() == ([], 0)
    file = sorted((store.folder / what).iterdir())[3]
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))] if share is not None else bytes(len(raw)))
    assert store.take_stock() == ([3], 1) and store.missing() == [3]
    label = dataclasses.replace(make_label(3, (40, 60)), weights=weights)
    store.write(3, label, keep_initial=True)
    assert file.read_bytes() == raw and store.finish()["images"] == 7


def test_a_label_of_another_size_than_its_record_is_damaged(tmp_path):
    store = fill(make_store(tmp_path).open())
    other = sorted((store.folder / "labels").iterdir())[2]
    Image.new("L", (9, 9)).save(other)
    assert store.take_stock() == ([2], 1) and store.missing() == [2]
