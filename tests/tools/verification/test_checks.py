import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stseg.data import Naming
from stseg.tools.verification import (
    OFFICIAL,
    Histogram,
    Pair,
    Settings,
    Target,
    folder_target,
    judge,
    list_folder,
    verify,
)
from stseg.tools.verification.context_order import read_names
from stseg.tools.verification.scan import scan, spread
from tests.helpers.planted import blocks, codes
from tests.helpers.tiny_data import NAMES, write_folder, write_pair


def check_folder(root, **settings):
    paths = [str(root / "images"), str(root / "labels"), str(root / "names.json")]
    return verify(list_folder(folder_target("mine", *paths)), Settings(**settings))


def test_a_good_folder_is_good(tmp_path):
    write_folder(tmp_path)
    report = check_folder(tmp_path)
    assert report.status == "good" and report.num_checked == 6
    assert report.classes_seen == len(NAMES) and report.ignored == 0


def test_a_sample_is_good_so_far(tmp_path):
    write_folder(tmp_path)
    assert check_folder(tmp_path, limit=2).status == "good so far"


def test_threads_change_nothing(tmp_path):
    write_folder(tmp_path, count=9)
    one, four = (check_folder(tmp_path, jobs=jobs).as_json() for jobs in (1, 4))
    assert one == four


def test_every_defect_of_a_folder_is_listed_at_once(tmp_path):
    write_folder(tmp_path, count=4)
    (tmp_path / "labels" / "scene0.png").unlink()
    (tmp_path / "images" / "scene1.png").unlink()
    (tmp_path / "labels" / "scene2.png").write_bytes(b"")
    assert sorted(codes(check_folder(tmp_path))) == [
        "broken-label",
        "missing-image",
        "missing-label",
    ]


@pytest.mark.parametrize(("ignored", "told"), [(95, ["mostly-ignored"]), (94, [])])
def test_maps_that_are_ignored_for_the_most_part_are_told(tmp_path, ignored, told):
    label = np.where(np.arange(100) < ignored, 255, np.arange(100) % 4).astype(np.uint8)
    write_pair(tmp_path, "a", label.reshape(10, 10))
    (tmp_path / "names.json").write_text(json.dumps({"classes": NAMES, "ignore": 255}))
    assert "classes-never-seen" not in codes(check_folder(tmp_path))
    assert codes(check_folder(tmp_path)) == told


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_labels_of_turned_images_as_people_see_them_are_good(tmp_path, suffix, orientation):
    label = (np.arange(200) % 4).reshape(10, 20).astype(np.uint8)
    write_pair(tmp_path, "a", label)
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (10, 20) if orientation in (6, 8) else (20, 10)  # width, height
    Image.new("RGB", stored).save(tmp_path / "images" / f"a{suffix}", exif=exif)
    assert check_folder(tmp_path).status == "good"
    Image.fromarray(label.T).save(tmp_path / "labels" / "a.png")
    expected = "exif-rotation" if orientation in (6, 8) else "size-mismatch"
    assert expected in codes(check_folder(tmp_path))


@pytest.mark.parametrize(
    "orientation, stored", [(6, (8, 8)), (5, (8, 8)), (3, (12, 8)), (2, (8, 8))]
)
def test_what_sizes_cannot_tell_about_exif_is_noted(tmp_path, orientation, stored):
    write_pair(tmp_path, "a", np.zeros(stored[::-1], np.uint8))
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    for exif_orientation in (orientation, 1):
        exif = Image.Exif()
        exif[0x0112] = exif_orientation
        Image.new("RGB", stored).save(tmp_path / "images" / "a.png", exif=exif)
        report = check_folder(tmp_path)
        noted = "exif-mirrored" in [finding.code for finding in report.findings]
        assert noted == (exif_orientation != 1) and not report.failures


def test_a_label_of_several_pages_and_a_pipe_are_named(tmp_path):
    write_folder(tmp_path, count=3)
    page = Image.open(tmp_path / "labels" / "scene0.png")
    page.save(tmp_path / "labels" / "scene0.png", save_all=True, append_images=[page.rotate(90)])
    for name in ("images/scene1.png", "labels/scene2.png"):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
    assert sorted(codes(check_folder(tmp_path))) == [
        "broken-image",
        "broken-label",
        "several-pages",
    ]


def test_a_label_beyond_the_limit_is_named_with_the_cure(tmp_path, monkeypatch):
    write_folder(tmp_path, count=2)
    monkeypatch.setenv("STSEG_MAX_MEGAPIXELS", "0.0001")
    (finding,) = [f for f in check_folder(tmp_path).findings if f.code == "unread-labels"]
    assert finding.count == 2 and "set STSEG_MAX_MEGAPIXELS higher" in finding.text


def test_ids_from_1_are_understood(tmp_path):
    write_folder(tmp_path, count=1)
    write_pair(tmp_path, "scene0", blocks([1, 2, 3, 4]))
    report = check_folder(tmp_path)
    assert codes(report) == ["ids-out-of-range"]
    assert "subtract 1" in report.findings[0].cure


def test_an_undeclared_ignored_id_is_understood(tmp_path):
    write_folder(tmp_path, count=1)
    (tmp_path / "names.json").write_text('{"classes": ["a", "b", "c", "d"], "ignore": 9}')
    write_pair(tmp_path, "scene0", blocks([0, 255]))
    assert '"ignore" in the names file' in check_folder(tmp_path).findings[0].cure


def test_an_unnamed_ignored_id_of_pc_459_is_understood(tmp_path):
    names = read_names("pascal_context_459")
    target = Target("mine", names, (65535,))
    label = blocks([3, 459], np.uint16)
    Image.fromarray(label).save(tmp_path / "a.tif")
    Image.new("RGB", label.shape[::-1]).save(tmp_path / "a.png")
    facts = scan([Pair(str(tmp_path / "a.png"), str(tmp_path / "a.tif"))])
    found = [f for f in judge(target, facts, Histogram(facts)) if not f.is_note]
    assert [f.code for f in found] == ["context-459-ignore"]
    assert '"ignore": 459' in found[0].cure


def test_unseen_classes_in_a_zero_shot_training_split_are_a_leak(tmp_path):
    write_folder(tmp_path, count=1)
    pair = Pair(str(tmp_path / "images" / "scene0.png"), str(tmp_path / "labels" / "scene0.png"))
    write_pair(tmp_path, "scene0", blocks([0, 2, 255]))
    facts = scan([pair])
    target = Target("t", tuple(NAMES), (255,), withheld=(2, 3))
    found = {f.code: f for f in judge(target, facts, Histogram(facts))}
    assert "2 tree" in found["withheld-classes"].text
    assert "3 car" not in found["classes-never-seen"].text


def test_images_in_folders_below_are_named(tmp_path):
    write_folder(tmp_path, count=2)
    (tmp_path / "images").rename(tmp_path / "moved")
    (tmp_path / "images").mkdir()
    (tmp_path / "moved").rename(tmp_path / "images" / "train")
    assert "nested" in codes(check_folder(tmp_path))


def test_folders_below_and_endings_of_names_are_followed_where_a_data_set_has_them(tmp_path):
    for folder, ending in (("images", "_leftImg8bit"), ("labels", "_labelTrainIds")):
        for city in ("aachen", "bonn"):
            path = tmp_path / folder / city / f"{city}_1{ending}.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(blocks([0, 1])).save(path)
    other = tmp_path / "labels" / "bonn" / "bonn_1_color.png"
    Image.new("RGB", (4, 4)).save(other)
    (tmp_path / "labels" / "aachen" / "aachen_1_labelTrainIds.png").unlink()
    target = Target(
        "streets",
        tuple(NAMES),
        (255,),
        tmp_path / "images",
        tmp_path / "labels",
        naming=Naming(nested=True, image_ending="_leftImg8bit", label_ending="_labelTrainIds"),
    )
    listed = list_folder(target)
    assert [Path(pair.label).name for pair in listed.pairs] == ["bonn_1_labelTrainIds.png"]
    assert [finding.code for finding in listed.findings] == ["missing-label"]


def test_harmless_files_beside_are_left_alone(tmp_path):
    write_folder(tmp_path)
    for path in ("images/Thumbs.db", "images/._scene0.png", "labels/scene0.json", "labels/x.txt"):
        (tmp_path / path).write_bytes(b"")
    assert codes(check_folder(tmp_path)) == []


def test_images_without_labels_are_checked_too(tmp_path):
    images, _, names = write_folder(tmp_path, count=3)
    (tmp_path / "images" / "scene1.png").write_bytes(b"")
    report = verify(list_folder(folder_target("mine", images, "", names)))
    assert codes(report) == ["broken-image"] and report.num_images == 3


@pytest.mark.parametrize(("limit", "chosen"), [(0, 10), (20, 10), (3, 3), (1, 1)])
def test_a_sample_is_spread_over_all(limit, chosen):
    sample = spread(list(range(10)), limit)
    assert len(set(sample)) == chosen
    if chosen > 1:
        assert sample[0] == 0 and sample[-1] == 9


def test_the_histogram_counts_pixels_and_images(tmp_path):
    write_pair(tmp_path, "a", blocks([0, 1]))
    write_pair(tmp_path, "b", blocks([1]))
    pairs = [
        Pair(str(tmp_path / f"images/{s}.png"), str(tmp_path / f"labels/{s}.png")) for s in "ab"
    ]
    histogram = Histogram(scan(pairs))
    assert histogram.ids.tolist() == [0, 1]
    assert histogram.share(0) == 0.25 and histogram.share(0, 1) == 1
    assert histogram.in_images(1) == 2 and histogram.in_images(7) == 0


def test_official_numbers_have_a_source():
    assert all(official.source and min(official.images) > 0 for official in OFFICIAL.values())


def test_only_benchmarks_have_a_family():
    assert Target("x", tuple(NAMES), (255,)).family == ""
    assert Target("x", read_names("pascal_context_59"), (255,)).family == "context-59"
    assert sorted(read_names("voc_20b")) == sorted(read_names("pascal_context_59"))
