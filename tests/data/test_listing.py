"""Which image belongs to which label map, whatever the files are called."""

import os

import pytest
from detectron2.data import DatasetCatalog

from stseg.config import parse_flag
from stseg.data import Naming
from stseg.data.datasets.listing import list_pairs
from stseg.data.readers import register_data


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def names(records, root):
    return [
        tuple(str(path).removeprefix(f"{root}/") for path in record.values()) for record in records
    ]


def pairs(root, images="images", labels="labels", listed=None, **naming):
    found = list_pairs("m", root / images, root / labels, Naming(**naming), listed)
    return names(found, root)


def test_one_folder_may_hold_both_by_their_endings(tmp_path):
    touch(tmp_path, "all/a.jpg", "all/a.png", "all/b.jpg", "all/b.png")
    with pytest.raises(ValueError, match=r"got a\.\w+ and a\.\w+. .*image_ending=\."):
        pairs(tmp_path, "all", "all")
    found = pairs(tmp_path, "all", "all", image_ending=".jpg", label_ending=".png")
    assert found == [("all/a.jpg", "all/a.png"), ("all/b.jpg", "all/b.png")]
    touch(tmp_path, "two/a.png", "two/a_mask.png")
    assert pairs(tmp_path, "two", "two", label_ending="_mask") == [("two/a.png", "two/a_mask.png")]


def test_the_other_folder_below_is_passed_over(tmp_path):
    touch(tmp_path, "photos/x/a.png", "photos/labels/x/a.png")
    expected = [("photos/x/a.png", "photos/labels/x/a.png")]
    assert pairs(tmp_path, "photos", "photos/labels", nested=True) == expected
    swapped = [pair[::-1] for pair in expected]
    assert pairs(tmp_path, "photos/labels", "photos", nested=True) == swapped


def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path):
    touch(tmp_path, "images/x/a.jpg", "labels/x/a.png", "elsewhere/b.jpg", "elsewhere/b.png")
    for part in ("images", "labels"):
        (tmp_path / part / "x" / "loop").symlink_to(tmp_path / part)
        (tmp_path / part / "y").symlink_to(tmp_path / "elsewhere")
    found = pairs(tmp_path, nested=True, image_ending=".jpg")
    assert [image for image, _ in found] == ["images/x/a.jpg", "images/y/b.jpg"]


def test_a_star_stands_for_a_folder_and_for_part_of_its_name(tmp_path):
    for region in ("Train_a", "Train_b", "Val_a"):
        touch(tmp_path, f"{region}/img/1.jpg", f"{region}/seg/1.png")
    found = pairs(tmp_path, "Train_*/img", "Train_*/seg")
    assert [image for image, _ in found] == ["Train_a/img/1.jpg", "Train_b/img/1.jpg"]
    (tmp_path / "Train_b" / "seg" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"a label for every image.*1.jpg \(1 of 2 files\)"):
        pairs(tmp_path, "Train_*/img", "Train_*/seg")


@pytest.mark.parametrize(
    "line", ["b/1", "b/1.jpg", "images/b/1.jpg labels/b/1.png", r"b\1.jpg", "./b/1"]
)
def test_a_list_names_images_by_stem_or_path(tmp_path, line):
    for part in "abc":
        touch(tmp_path, f"images/{part}/1.jpg", f"labels/{part}/1.png")
    touch(tmp_path, "labels/c/without.png", "images/two words.jpg", "labels/two words.png")
    (tmp_path / "some.txt").write_text(f"{line}\n\ntwo words\n")
    found = pairs(tmp_path, listed=tmp_path / "some.txt", nested=True)
    assert found[0] == ("images/b/1.jpg", "labels/b/1.png") and len(found) == 2
    (tmp_path / "some.txt").write_text("1.jpg\nb/1\n")
    with pytest.raises(ValueError, match="some.txt lists, got 1 of 2 missing: 1.jpg.*whole paths"):
        pairs(tmp_path, listed=tmp_path / "some.txt", nested=True)


def test_names_that_fit_no_ending_say_which_was_looked_for(tmp_path):
    touch(tmp_path, "images/a_image.png", "labels/a_gt.png")
    with pytest.raises(
        ValueError, match="expected label maps .*image_ending=_image, label_ending=_x"
    ):
        pairs(tmp_path, image_ending="_image", label_ending="_x")


def link(kind, source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    (os.symlink if kind == "soft" else os.link)(source, target)


@pytest.mark.usefixtures("clean_catalog")
@pytest.mark.parametrize("kind", ["one folder", "folder", "soft", "hard"])
def test_an_image_is_not_its_own_label(tmp_path, kind):
    touch(tmp_path, "images/a.png", "images/b.png")
    touch(tmp_path, "names.txt", "labels/b.png")
    (tmp_path / "names.txt").write_text("x\ny\n")
    labels = tmp_path / "labels"
    if kind == "one folder":
        labels = tmp_path / "images"
    elif kind == "folder":
        (labels / "b.png").unlink()
        labels.rmdir()
        labels.symlink_to(tmp_path / "images")
    else:
        link(kind, tmp_path / "images" / "a.png", labels / "a.png")
    register_data(parse_flag(f"m={tmp_path},labels={labels}"))
    with pytest.raises(ValueError, match="Data set m: .*that are their images, too: .*a.png"):
        DatasetCatalog.get("m")
