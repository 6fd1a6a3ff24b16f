import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from stseg.exports import EXPORT_KINDS, LabelledImage, write_export

CAT = np.zeros((4, 6), dtype=np.int32)


def image(name="a.jpg", labels=CAT, names=("cat", "dog")):
    return LabelledImage(name, labels, names)


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_images_are_taken_one_by_one_and_not_kept(kind, tmp_path):
    alive, most = weakref.WeakSet(), 0

    def stream():
        nonlocal most
        for k in range(12):
            result = image(f"{k}.jpg", np.full((4, 6), k % 2))
            alive.add(result)
            most = max(most, len(alive))
            yield result
            del result

    assert write_export(kind, stream(), tmp_path / "new")
    assert most <= 3


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_an_export_replaces_its_like_and_no_file_of_anybody_else(kind, tmp_path):
    files = write_export(kind, [image()], tmp_path)
    alike = SimpleNamespace(file_name="a.jpg", label_map=CAT, names=["cat", "dog"])
    assert write_export(kind, [alike], tmp_path) == files
    files[0].write_text("of somebody else")
    with pytest.raises(ValueError, match=f"Export: .*{files[0].name}"):
        write_export(kind, [image()], tmp_path)
    assert files[0].read_text() == "of somebody else"


def test_label_files_of_another_yolo_data_set_are_kept(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")
    with pytest.raises(ValueError, match=r"Export: .*a\.txt"):
        write_export("yolo", [image()], tmp_path)
    assert (tmp_path / "labels" / "a.txt").read_text() == "0 0.5 0.5 1 1"


def test_what_goes_wrong_half_way_leaves_no_half_file(tmp_path):
    for kind in ("coco", "cvat", "label_studio"):
        with pytest.raises(ValueError, match="'b.jpg': expected the same 2 names"):
            write_export(kind, [image(), image("b.jpg", names=("cat", "cow"))], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "expected results of at least one image, got none"),
        ([image(), image("a.png")], "stem of its own, got that of 'a.jpg'"),
        ([image(labels=CAT + 2)], "expected ids of -1 to 1, got 2 to 2"),
        ([image(labels=CAT[0])], r"got shape \(6,\)"),
        ([image("")], "expected a stem of its own, got none"),
    ],
)
def test_what_does_not_fit_is_refused(results, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_export("yolo", results, tmp_path)


def test_one_file_for_all_tells_images_by_their_whole_names(tmp_path):
    assert write_export("coco", [image("a/1.jpg"), image("b/1.jpg")], tmp_path)
    with pytest.raises(ValueError, match="expected a file name of its own, got that of 'a/1.jpg'"):
        write_export("coco", [image("a/1.jpg"), image("a/1.jpg")], tmp_path)


def test_formats_that_go_by_names_refuse_names_that_repeat(tmp_path):
    twice = [image(names=("bag", "bag"))]
    for kind in ("labelme", "cvat", "label_studio"):
        with pytest.raises(ValueError, match="got 'bag' twice.*Take coco or yolo"):
            write_export(kind, twice, tmp_path)
    assert write_export("yolo", twice, tmp_path)


def test_an_unknown_format_is_answered_with_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match="one of coco, yolo, labelme, cvat, label_studio"):
        write_export("voc", [image()], tmp_path)


@pytest.mark.parametrize("kind", ["yolo", "labelme"])
def test_images_of_one_name_in_several_folders_keep_their_places(kind, tmp_path):
    places = {"one/a": "one/a", "two/a": "two/a", "b": ""}
    results = [LabelledImage(f"{n}.png", CAT, ("cat",), "", p) for n, p in places.items()]
    files = write_export(kind, results, tmp_path)
    places = {path.relative_to(tmp_path).with_suffix("").as_posix() for path in files}
    root = "labels/" if kind == "yolo" else ""
    assert {f"{root}one/a", f"{root}two/a", f"{root}b"} <= places


def test_labelme_leads_to_the_image_wherever_it_lies(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    path = str(tmp_path / "photos" / "a.png")
    result = LabelledImage("sub/a.png", CAT, ("cat", "dog"), path, "sub/a")
    (path,) = write_export("labelme", [result], tmp_path / "out")
    assert json.loads(path.read_text())["imagePath"] == "../../photos/a.png"
