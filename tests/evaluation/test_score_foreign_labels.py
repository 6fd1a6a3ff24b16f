"""The scorer on labels that are called otherwise, hold other values, or are not labels at all."""

import os
import shutil

import numpy as np
import pytest

from stseg.evaluation import evaluation_command as main
from stseg.evaluation.results import read_result
from tests.helpers.label_folders import save

TRUTH = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
COLOURS = np.array([[0, 0, 0], [0, 255, 0], [255, 0, 0]], dtype=np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("soil\ncrop\nweed\n")
    (tmp_path / "two.txt").write_text("ground\ncrack\n")
    return tmp_path


def score(gt, *more, names="names.txt"):
    return main(
        ["score", "--pred", "pred", "--gt", gt, "--names", names, "--output", "r.json", *more]
    )


def refused(capsys, *arguments, **options):
    with pytest.raises(SystemExit) as caught:
        score(*arguments, **options)
    assert caught.value.code == 2 and not os.path.exists("r.json")
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "label"),
    [
        ("values=0:0,128:1,255:2", np.array([0, 128, 255], dtype=np.uint8)[TRUTH]),
        ("reduce_zero_label=true", TRUTH + 1),
        ("colours=#000000:soil,#00ff00:crop,255 0 0:weed", COLOURS[TRUTH]),
    ],
)
def test_keys_after_the_folder_say_what_labels_hold_and_how_they_are_called(here, keys, label):
    save(here / "pred" / "001_image.png", TRUTH)
    save(here / "gt,1" / "a" / "001_annotation.png", label)
    (here / "pred" / "a").mkdir()
    (here / "pred" / "001_image.png").rename(here / "pred" / "a" / "001_image.png")
    names = "image_ending=_image,label_ending=_annotation"
    assert score(f"gt,1,{keys},{names}") == 0
    result = read_result(here / "r.json")
    assert result.figures["mIoU_gt"] == 1.0 and result.images[0]["name"] == "a/001"
    assert main(["report", "r.json", "--output", "page.md"]) == 0
    assert (here / "page_images").is_dir()


def test_folders_of_several_regions_are_scored_together(here):
    for region in ("Rural", "Urban"):
        save(here / "pred" / region / "1.png", TRUTH)
        save(here / "Val" / region / "masks_png" / "1.png", TRUTH)
    assert score("Val/*/masks_png") == 0
    assert [row["name"] for row in read_result(here / "r.json").images] == ["Rural/1", "Urban/1"]


def test_an_answer_that_misses_the_class_painted_255_gets_no_marks(here, capsys):
    mask = np.array([[0, 255, 255], [0, 0, 255]], dtype=np.uint8)
    for name in "ab":
        save(here / "pred" / f"{name}.png", np.zeros_like(mask))
        save(here / "gt" / f"{name}.png", mask if name == "a" else np.minimum(mask, 1))
    said = refused(capsys, "gt", names="two.txt")
    assert "gt: expected 255 to mean 'no class'" in said and "values=0:0,1:1,255:1" in said
    assert score("gt,values=0:0,1:1,255:1", names="two.txt") == 0
    assert read_result(here / "r.json").figures["mIoU_gt"] < 0.3
    assert score("gt", "--ignore", "255", names="two.txt") == 0


def test_labels_of_one_class_are_told(here, caplog):
    for folder in ("pred", "gt"):
        save(here / folder / "a.png", TRUTH * 0)
    assert score("gt", names="two.txt") == 0
    assert "gt: none of 1 label maps looked into holds crack" in caplog.text


@pytest.mark.parametrize("kind", ["same folder", "linked folder", "soft", "hard"])
def test_predictions_are_not_their_own_labels(here, capsys, kind):
    save(here / "pred" / "a.png", TRUTH)
    if kind == "linked folder":
        (here / "gt").symlink_to(here / "pred")
    elif kind != "same folder":
        (here / "gt").mkdir()
        (os.symlink if kind == "soft" else os.link)(here / "pred/a.png", here / "gt/a.png")
    said = refused(capsys, "pred" if kind == "same folder" else "gt")
    assert "got 1 that are their predictions, too" in said and "a.png" in said
    (here / "gt").unlink() if (here / "gt").is_symlink() else shutil.rmtree(here / "gt", True)
    shutil.copytree(here / "pred", here / "gt")  # a perfect answer is none of them
    assert score("gt") == 0


def test_predictions_may_lie_below_the_labels(here):
    save(here / "gt" / "a.png", TRUTH)
    save(here / "gt" / "out" / "a.png", TRUTH)
    (here / "pred").symlink_to(here / "gt" / "out")
    arguments = ["--gt", "gt", "--names", "names.txt", "--output", "r.json"]
    assert main(["score", "--pred", "gt/out", *arguments]) == 0


def test_colours_without_a_table_and_unknown_keys_are_named(here, capsys):
    save(here / "pred" / "a.png", TRUTH)
    save(here / "gt" / "a.png", COLOURS[TRUTH])
    assert "colours=#000000:0,#00ff00:1,#ff0000:2" in refused(capsys, "gt")
    assert "--gt: expected the keys ignore, " in refused(capsys, "gt,labels=x")
    assert "--gt, values: expected VALUE:CLASS" in refused(capsys, "gt,values=1")
    assert "--gt, reduce_zero_label: expected true or false, got 'yes'" in refused(
        capsys, "gt,reduce_zero_label=yes"
    )
