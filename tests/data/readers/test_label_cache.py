"""Video frames and label maps are made once, whole, and anew after a change."""

import os
import time

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.data.opening import BrokenFileError
from stseg.data.readers import folders, label_cache, register_data, register_images
from stseg.data.readers.annotations import Annotations, Drawing
from stseg.data.videos import Frame, open_video
from stseg.structures import Vocabulary
from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register
from tests.helpers.films import damaged_film

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def film(tmp_path, count=5):
    path = tmp_path / "drive.mp4"
    with open_video(path, 5.0) as video:
        for number in range(count):
            video.write(np.full((32, 48, 3), 40 * number, np.uint8))
    return path


def test_every_nth_frame_of_a_video_is_an_image_without_label(tmp_path):
    register(film(tmp_path), "video", names="road; car", every=2)
    records = DatasetCatalog.get("mine")
    assert [set(r) for r in records] == [{"file_name"}] * 3
    assert [r["file_name"][-16:] for r in records] == [f"drive_{n:06d}.jpg" for n in (0, 2, 4)]
    greys = [np.array(Image.open(r["file_name"])).mean() for r in records]
    assert np.allclose(greys, [0, 80, 160], atol=4)


def test_a_video_can_be_adapted_to_like_a_folder(tmp_path):
    register_images("mine", film(tmp_path), "road; car")
    assert len(DatasetCatalog.get("mine")) == 5


def test_frames_of_a_video_that_broke_off_are_not_taken_for_all(tmp_path, monkeypatch):
    def broken(path):
        yield Frame(0, 0.0, np.zeros((32, 48, 3), np.uint8))
        raise KeyboardInterrupt

    path = film(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(label_cache, "read_video", broken)
        with pytest.raises(KeyboardInterrupt):
            label_cache.extract_frames(path)
    assert len(list(label_cache.extract_frames(path).glob("*.jpg"))) == 5


def test_a_folder_of_frames_needs_names_and_no_labels(tmp_path):
    data.write_images(tmp_path / "frames", 3)
    (tmp_path / "frames" / "03.png").write_bytes(b"no image")
    line = register(tmp_path / "frames", "images", names="road; car")
    assert "3 images" in line and "left out" in line and "03.png" in line
    assert len(DatasetCatalog.get("mine")) == 3


def test_label_maps_are_drawn_once_and_anew_after_a_change(tmp_path, label_cache_dir):
    root = data.write_labelme(tmp_path / "set")
    entry = {"format": "labelme", "path": str(root)}
    register_data({"name": "mine", **entry})
    files = {p: p.stat().st_mtime_ns for p in label_cache_dir.rglob("*.png")}
    assert len(files) == 4
    forget("mine")
    register_data({"name": "mine", **entry})
    assert {p: p.stat().st_mtime_ns for p in label_cache_dir.rglob("*.png")} == files
    forget("mine")
    next(iter(files)).unlink()
    register_data({"name": "mine", **entry})
    assert len(label_maps()) == 4
    forget("mine")
    content = data.labelme_json(0)
    content["shapes"].pop()
    data.write_json(root / "00.json", content)
    register_data({"name": "mine", **entry})
    assert (label_maps()[0] == 1).all() and (label_maps()[1] == data.truth(1)).all()


def forget(name):
    DatasetCatalog.remove(name)
    MetadataCatalog.pop(name)
    folders._registered.pop(name)


def test_drawing_goes_on_where_it_was_killed(tmp_path, label_cache_dir, monkeypatch):
    root, drawn = data.write_labelme(tmp_path / "set"), []
    original = label_cache.encode_labels

    def dies_at_the_third(labels, num_classes):
        drawn.append(labels)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return original(labels, num_classes)

    monkeypatch.setattr(label_cache, "encode_labels", dies_at_the_third)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        register(root, "labelme")
    assert not list(label_cache_dir.rglob("names.json")) and not list(
        label_cache_dir.rglob("*.tmp")
    )
    before = len(drawn)
    register(root, "labelme")
    assert len(drawn) - before <= 2
    assert all((label == data.truth(i)).all() for i, label in enumerate(label_maps()))


def test_the_cache_is_itself_a_plain_folder(tmp_path):
    root = data.write_labelme(tmp_path / "set")
    register(root, "labelme", names="dark; lamp, bright")
    labels = MetadataCatalog.get("mine").sem_seg_root
    names = f"{labels}/../names.json"
    for extra in root.glob("*.json"):
        extra.unlink()
    register_data({"name": "b", "images": str(root), "labels": labels, "names": names})
    assert MetadataCatalog.get("b").vocabulary.synonyms == (("dark",), ("lamp", "bright"))
    assert MetadataCatalog.get("b").ignore_labels == MetadataCatalog.get("mine").ignore_labels


def test_many_classes_give_maps_of_16_bits(tmp_path):
    names = [f"class {i}" for i in range(300)] + list(data.NAMES)
    register(data.write_labelme(tmp_path / "set"), "labelme", names=names)
    assert MetadataCatalog.get("mine").ignore_label == 65535
    assert (label_maps()[0] == data.truth(0).astype(int) + 300).all()


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="STSEG_CACHE: expected a folder.*Set STSEG_CACHE"):
        register(data.write_labelme(tmp_path / "set"), "labelme")


def drawn(tmp_path, *, image="00.png", name="mine", stem="00", key="key", **more):
    """The folder of label maps that one image with one shape gets."""
    annotations = Annotations(
        [Drawing(str(tmp_path / image), stem, "a.json", "content")],
        lambda drawing, size, ids, fill: np.full(size, ids[drawing.content], np.int32),
        ("content",),
        {"content": "a.json"},
        key,
    )
    decided = {"ids": {"content": 0}, "names": "bright; dark", "fill": 0, **more}
    vocabulary = Vocabulary.parse(decided["names"])
    return label_cache.draw_label_maps(
        name, annotations, decided["ids"], vocabulary, decided["fill"]
    )[0]


def test_all_that_label_maps_depend_on_makes_a_folder_of_its_own(tmp_path):
    data.write_images(tmp_path, 2)
    base = drawn(tmp_path)
    others = [
        drawn(tmp_path, name="other"),
        drawn(tmp_path, image="01.png"),
        drawn(tmp_path, stem="01"),
        drawn(tmp_path, key="another key"),
        drawn(tmp_path, ids={"content": 1}),
        drawn(tmp_path, ids={"content": 0, "more": 1}),
        drawn(tmp_path, names="dark; bright"),
        drawn(tmp_path, names="bright, light; dark"),
        drawn(tmp_path, fill=1),
    ]
    assert len({base, *others}) == 1 + len(others)
    assert drawn(tmp_path) == base


def test_all_that_frames_depend_on_makes_a_folder_of_its_own(tmp_path):
    path = film(tmp_path)
    base, sparse = label_cache.extract_frames(path), label_cache.extract_frames(path, every=2)
    assert [len(list(folder.glob("*.jpg"))) for folder in (base, sparse)] == [5, 3]
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    touched = label_cache.extract_frames(path)
    with open(path, "ab") as file:
        file.write(b" ")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    longer = label_cache.extract_frames(path)
    path.rename(tmp_path / "moved.mp4")
    moved = label_cache.extract_frames(tmp_path / "moved.mp4")
    assert len({base, sparse, touched, longer, moved}) == 5
    # Of one name in another folder: the path counts, too.
    (tmp_path / "b").mkdir()
    (tmp_path / "moved.mp4").rename(tmp_path / "b" / "moved.mp4")
    assert label_cache.extract_frames(tmp_path / "b" / "moved.mp4") != moved


def spoil(path, how):
    raw = path.read_bytes()
    if how == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        middle = len(raw) // 2
        spoiled = {
            "empty": b"",
            "cut": raw[:middle],
            "end": raw[:-9],
            "zeros": bytes(len(raw)),
            "flipped": raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :],
        }
        path.write_bytes(spoiled[how])


DAMAGES = ["empty", "cut", "end", "zeros", "flipped", "pipe"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_label_map_in_the_cache_is_drawn_again(tmp_path, label_cache_dir, how):
    register(data.write_labelme(tmp_path / "set"), "labelme")
    file = sorted(label_cache_dir.rglob("*.png"))[1]
    names = next(label_cache_dir.rglob("names.json"))
    before = file.read_bytes(), names.read_bytes()
    spoil(file, how)
    names.write_bytes(before[1][:20])
    forget("mine")
    register(tmp_path / "set", "labelme")
    assert (file.read_bytes(), names.read_bytes()) == before
    assert (label_maps()[1] == data.truth(1)).all()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("which", ["*.jpg", ".complete"])
def test_a_damaged_frame_in_the_cache_is_made_again(tmp_path, how, which, caplog):
    path = film(tmp_path)
    folder = label_cache.extract_frames(path)
    file = sorted(folder.glob(which))[-1]
    before = file.read_bytes()
    if which == ".complete" and how == "pipe":
        how = "empty"
    spoil(file, how)
    assert label_cache.extract_frames(path) == folder
    assert file.read_bytes() == before and "made again" in caplog.text
    assert len(list(folder.glob("*.jpg"))) == 5


def test_frames_of_a_damaged_video_keep_their_numbers_and_the_damage_is_told_each_time(
    tmp_path, caplog
):
    path = damaged_film(tmp_path, 10, holes=[4])
    for _ in range(2):
        caplog.clear()
        folder = label_cache.extract_frames(path)
        numbers = [int(p.stem[-6:]) for p in sorted(folder.glob("*.jpg"))]
        assert numbers == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert "expected 10 frames, got 9" in caplog.text and path.name in caplog.text


def test_half_a_video_is_refused_each_time(tmp_path):
    path = damaged_film(tmp_path, 40, keep=0.6)
    for _ in range(2):
        with pytest.raises(BrokenFileError, match="film.avi: expected 40 frames, got"):
            label_cache.extract_frames(path)


def test_no_job_is_begun_after_ctrl_c():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.001)
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_cache.in_threads(work, range(2000), "counting")
    assert len(begun) < 1500


def test_labels_of_another_size_than_the_image_has_now_are_drawn_anew(tmp_path):
    root = data.write_labelme(tmp_path / "set", 2)
    register(root, "labelme")
    label = DatasetCatalog.get("mine")[0]["sem_seg_file_name"]
    Image.open(label).resize((7, 5), Image.Resampling.NEAREST).save(label)
    forget("mine")
    register(root, "labelme")
    assert all((labels == data.truth(i)).all() for i, labels in enumerate(label_maps()))


def test_an_image_of_another_size_than_its_annotation_says_is_named_in_a_second_run(tmp_path):
    root = data.write_labelme(tmp_path / "set", 2)
    register(root, "labelme")
    Image.open(root / "01.png").resize((64, 48)).save(root / "01.png")
    forget("mine")
    with pytest.raises(ValueError, match=r"01\.json: expected the size of its image .*48 x 64"):
        register(root, "labelme")
