"""Folders of one's own: what verification says of label maps that hold no class ids."""

import json

import numpy as np
import pytest
from PIL import Image

from stseg.tools import make_sheet
from stseg.tools.data_commands import data_command
from stseg.tools.verification import folder_target, list_folder, verify
from tests.helpers.foreign_layouts import COLOURS, TRUTH, photo, save, write_layout


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / "images" / f"{name}.png")
    (tmp_path / "names.txt").write_text("ground\ncrack\n")
    return tmp_path


def folder(root, keys="", labels="labels", names="names.txt"):
    return list_folder(
        folder_target("m", str(root / "images"), f"{root / labels}{keys}", str(root / names))
    )


def findings(listed):
    return {f.code: f for f in verify(listed).findings if not f.is_note}


@pytest.mark.parametrize(("painted", "also"), [(255, 255), (255, 1)])
def test_a_class_painted_255_is_a_finding_with_the_cure(root, painted, also):
    for name, value in (("a", painted), ("b", also)):
        save(root / "labels" / f"{name}.png", np.where(TRUTH[0] > 0, value, 0).astype(np.uint8))
    found = findings(folder(root))
    assert found.keys() == {"ignored-class"}
    keys = ",values=0:0,255:1" if also == 255 else ",values=0:0,1:1,255:1"
    assert keys[1:] in found["ignored-class"].cure
    assert not findings(folder(root, keys))
    assert not findings(folder(root, ",ignore=255"))


def test_values_that_are_no_classes_are_a_finding_with_the_cure(root):
    for name in "ab":
        save(root / "labels" / f"{name}.png", np.where(TRUTH[0] > 0, 128, 0).astype(np.uint8))
    assert "values=0:0,128:1" in findings(folder(root))["ids-out-of-range"].cure
    assert not findings(folder(root, ",values=0:0,128:1"))
    found = findings(folder(root, ",values=0:0"))["values-without-meaning"]
    assert found.count == 2 and "got 128" in found.text and "128:CLASS" in found.cure


def test_colours_are_shown_and_taken_with_a_table(root):
    for name in "ab":
        save(root / "labels" / f"{name}_label.png", COLOURS[TRUTH[0]])
    (root / "names.txt").write_text("soil\ncrop\nweed\n")
    found = findings(folder(root))
    assert "label_ending=_label" in found["missing-label"].cure
    keys = ",label_ending=_label"
    assert "colours=#000000:0," in findings(folder(root, keys))["coloured-labels"].cure
    keys += ",colours=#000000:0,#00ff00:1,#ff0000:weed"
    listed = folder(root, keys)
    report = verify(listed)
    assert (report.status, report.histogram.in_images(2)) == ("good", 2)
    assert json.dumps(report.as_json())
    card = make_sheet(listed, 1, classes="weed").cards[0]
    assert set(np.unique(card.label)) == set(np.unique(TRUTH[0]))


def test_a_palette_image_of_known_colours_is_read_by_its_colours(root):
    for name in "ab":
        Image.fromarray(COLOURS[TRUTH[0]]).quantize(8).save(root / f"{name}.png")
        (root / "labels").mkdir(exist_ok=True)
        (root / f"{name}.png").rename(root / "labels" / f"{name}.png")
    (root / "names.txt").write_text("soil\ncrop\nweed\n")
    assert not findings(folder(root, ",colours=#000000:0,#00ff00:1,#ff0000:2"))


def test_images_that_are_their_own_labels_are_a_finding(root):
    listed = folder(root, labels="images")
    assert findings(listed).keys() == {"own-label"} and listed.findings[0].count == 2
    (root / "labels").mkdir()
    (root / "labels" / "a.png").symlink_to(root / "images" / "a.png")
    save(root / "labels" / "b.png", np.minimum(TRUTH[0], 1))
    found = findings(folder(root))
    assert found.keys() == {"own-label"} and found["own-label"].count == 1


@pytest.mark.usefixtures("clean_catalog")
@pytest.mark.parametrize("layout", ["cwfid", "loveda"])
def test_data_flags_are_verified_file_by_file(tmp_path, capsys, layout):
    flag = write_layout(tmp_path, layout)
    assert data_command(["verify", "--data", flag]) == 0
    assert data_command(["show", "mine", "--output", str(tmp_path / "sheet.png")]) == 0


@pytest.mark.usefixtures("clean_catalog")
def test_own_labels_of_a_data_flag_are_a_finding_not_the_end(root, capsys):
    assert data_command(["verify", "--data", f"m={root},labels={root}/images"]) == 1
    assert "FINDING own-label" in capsys.readouterr().out


def test_unknown_keys_and_lists_are_named(root):
    for keys, message in (
        (",lables=x", "expected the keys ignore, .*got lables"),
        (",split=gone.txt", "split: expected a list of images, got no file at gone.txt"),
        (",values=a:0", "Data set m, values: expected whole numbers"),
    ):
        (root / "labels").mkdir(exist_ok=True)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            folder(root, keys)


def test_a_list_chooses_and_a_wrong_one_is_a_finding(root):
    save(root / "labels" / "a.png", np.minimum(TRUTH[0], 1))
    (root / "some.txt").write_text("a\n")
    report = verify(folder(root, f",split={root}/some.txt"))
    assert report.num_images == 1 and [f.code for f in report.findings] == ["left-out"]
    (root / "some.txt").write_text("a\nc\n")
    assert "wrong-list" in findings(folder(root, f",split={root}/some.txt"))
