"""Annotation files of other hands: stubs, groups, ids as text, paths of other machines."""

import json
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")

SQUARE = [[2, 2], [9, 2], [9, 9]]
FOREIGN = [
    "C:\\data\\{}",
    "/home/someone/data/{}",
    "https://host.example/files/{}?size=full",
    "..\\..\\elsewhere\\{}",
    "file:///D:/x/{}",
    "./{}",
]


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    data.write_json(file, content)


def coco(root, change, count=2):
    data.write_coco(root, count)
    edit(root / "annotations" / "instances.json", change)
    return root


def drawn_right():
    return all((label == data.truth(i)).all() for i, label in enumerate(label_maps()))


@pytest.mark.parametrize("stub", [[], None, {}, [[]], [[1, 1, 5, 5]], [[1, 1]], [[], [3, 3, 4, 4]]])
def test_annotations_without_an_area_are_left_out_and_counted(tmp_path, stub):
    def add(content):
        more = {"image_id": 100, "category_id": 3, "segmentation": stub}
        content["annotations"] += [{"id": 71, **more}, {"id": 72, **more}]

    line = register(coco(tmp_path / "set", add), "coco")
    assert "left out: 2 of 6 annotations, which have no area (annotation 71, annotation 72)" in line
    assert drawn_right()


def test_of_an_annotation_with_a_stub_the_good_polygons_stay(tmp_path):
    def add(content):
        content["annotations"][1]["segmentation"].append([1, 1, 5, 5])

    assert "no area" not in register(coco(tmp_path / "set", add), "coco")
    assert drawn_right()


def test_boxes_alone_are_refused_with_what_to_export(tmp_path):
    def strip(content):
        for entry in content["annotations"]:
            entry["segmentation"] = []

    with pytest.raises(
        ValueError, match="instances.json, got none that cover an area.*boxes alone"
    ):
        register(coco(tmp_path / "set", strip), "coco")


@pytest.mark.parametrize("points", [[], [[1, 1]], [[1, 1], [4, 4]]])
def test_stubs_of_labelme_are_left_out_and_counted(tmp_path, points):
    data.write_labelme(tmp_path / "set", 2)
    for kind, label in (("polygon", "stub"), ("rectangle", "other stub")):
        stub = data.shape(label, points[:1] if kind == "rectangle" else points, kind)
        edit(tmp_path / "set" / "01.json", lambda c, stub=stub: c["shapes"].insert(0, stub))
    line = register(tmp_path / "set", "labelme")
    assert "left out: 2 shapes of too few points ('other stub' in 01.json, 'stub' in" in line
    assert MetadataCatalog.get("mine").stuff_classes == ["bright", "dark"] and drawn_right()


@pytest.mark.parametrize("kind", ["coco", "coco_panoptic"])
def test_a_category_that_only_groups_others_is_no_class(tmp_path, kind):
    data.WRITERS[kind](tmp_path / "set")
    file = next((tmp_path / "set").rglob("*.json"))

    def group(content):
        for entry in content["categories"]:
            entry["supercategory"] = "scene-1"
        content["categories"] += [
            {"id": 0, "name": "scene-1", "supercategory": "none"},
            {"id": 90, "name": "tree", "supercategory": "tree"},
        ]

    edit(file, group)
    line = register(tmp_path / "set", kind)
    assert MetadataCatalog.get("mine").stuff_classes == ["bright", "dark", "tree"]
    assert "left out: 1 categories that group others and have no annotation (scene-1)" in line
    assert "1 categories have no annotation: tree" in line and drawn_right()


def test_a_group_that_has_annotations_is_a_class(tmp_path):
    def group(content):
        content["categories"][1]["supercategory"] = "dark"

    register(coco(tmp_path / "set", group), "coco")
    assert MetadataCatalog.get("mine").stuff_classes == ["bright", "dark"]


@pytest.mark.parametrize("kind", ["coco", "coco_panoptic"])
@pytest.mark.parametrize("as_id", [str, float, lambda i: f" {i} "])
def test_ids_may_be_written_otherwise_where_they_are_referred_to(tmp_path, kind, as_id):
    data.WRITERS[kind](tmp_path / "set")

    def rewrite(content):
        for entry in content["annotations"]:
            entry["image_id"] = as_id(entry["image_id"])
            for part in entry.get("segments_info", [entry]):
                part["category_id"] = as_id(part["category_id"])
                part["id"] = as_id(part["id"])
        content["images"][0]["id"] = as_id(content["images"][0]["id"])

    edit(next((tmp_path / "set").rglob("*.json")), rewrite)
    register(tmp_path / "set", kind)
    assert len(DatasetCatalog.get("mine")) == 4 and drawn_right()


@pytest.mark.parametrize("path", FOREIGN)
@pytest.mark.parametrize("kind", ["labelme", "coco", "coco_panoptic"])
def test_paths_of_another_machine_lead_to_the_images_here(tmp_path, label_cache_dir, kind, path):
    root = data.WRITERS[kind](tmp_path / "set", 2)

    def move(content):
        for entry in [content] if kind == "labelme" else content["images"]:
            key = "imagePath" if kind == "labelme" else "file_name"
            entry[key] = path.format(entry[key])
        for entry in content.get("annotations", []):
            if kind == "coco_panoptic":
                entry["file_name"] = path.format(entry["file_name"])

    for file in root.rglob("*.json"):
        edit(file, move)
    register(root, kind)
    assert drawn_right()
    made = [record["sem_seg_file_name"] for record in DatasetCatalog.get("mine")]
    assert all(file.startswith(str(label_cache_dir)) and ":" not in file for file in made)


def test_as_much_of_a_foreign_path_counts_as_is_here(tmp_path):
    root = data.write_coco(tmp_path / "set", 2)
    for split, name in (("train", "00.png"), ("val", "01.png")):
        (root / "images" / split).mkdir()
        (root / "images" / name).rename(root / "images" / split / "same.png")

    def move(content):
        content["images"][0]["file_name"] = "D:\\x\\train\\same.png"
        content["images"][1]["file_name"] = "/y/val/same.png"

    edit(root / "annotations" / "instances.json", move)
    register(root, "coco")
    records = DatasetCatalog.get("mine")
    assert [r["sem_seg_file_name"][-14:] for r in records] == ["train/same.png", "s/val/same.png"]
    assert drawn_right()


def test_a_whole_path_of_this_machine_is_taken_as_it_is(tmp_path):
    root = data.write_coco(tmp_path / "set", 2)
    (tmp_path / "elsewhere").mkdir()
    (root / "images" / "01.png").rename(tmp_path / "elsewhere" / "00.png")

    def move(content):
        content["images"][1]["file_name"] = f"{tmp_path}/elsewhere/00.png"
        content["images"][0]["file_name"] = "city/00.png"

    (root / "images" / "city").mkdir()
    (root / "images" / "00.png").rename(root / "images" / "city" / "00.png")
    edit(root / "annotations" / "instances.json", move)
    register(root, "coco")
    images = {r["file_name"] for r in DatasetCatalog.get("mine")}
    assert images == {f"{root}/images/city/00.png", f"{tmp_path}/elsewhere/00.png"}


def test_two_entries_for_one_file_are_refused_by_name(tmp_path):
    def twice(content):
        content["images"][1]["file_name"] = "/elsewhere/00.png"

    with pytest.raises(ValueError, match="image 00.png and .*image /elsewhere/00.png for 00"):
        register(coco(tmp_path / "set", twice), "coco")

    def by_a_folder(content):
        content["images"][0]["file_name"] = "a/00.png"
        content["images"][1]["file_name"] = "00.png"

    root = coco(tmp_path / "other", by_a_folder)
    with pytest.raises(ValueError, match="one annotation per image name.*a/00.png.*Remove"):
        register(root, "coco")


@pytest.mark.parametrize("kind", ["labelme", "coco", "coco_panoptic"])
def test_annotations_of_missing_images_may_be_left_out(tmp_path, kind):
    root = data.WRITERS[kind](tmp_path / "set")
    next(root.rglob("03.png")).unlink()
    if kind == "coco_panoptic":
        shutil.rmtree(root / "images" / "nothing", ignore_errors=True)
    with pytest.raises(FileNotFoundError, match="nothing for 03.png.*skip_missing=true"):
        register(root, kind)
    line = register(root, kind, skip_missing=True)
    assert "left out: 1 annotations of images that are not there (03.png" in line
    assert len(DatasetCatalog.get("mine")) == 3 and drawn_right()


def test_annotations_of_images_that_the_file_lacks_may_be_left_out(tmp_path):
    def lose(content):
        content["images"] = content["images"][:1]
        content["annotations"][1]["category_id"] = 99

    root = coco(tmp_path / "set", lose)
    with pytest.raises(ValueError, match="annotation 2: expected category_id .*skip_missing=true"):
        register(root, "coco")
    line = register(root, "coco", skip_missing=True)
    assert "left out: 3 annotations of images or categories that the file lacks" in line
    assert np.unique(label_maps()[0]).tolist() == [-1, 0]
    with pytest.raises(ValueError, match="'mine' of format folder: .*got 'skip_missing'"):
        register(root, "folder", skip_missing=True)
