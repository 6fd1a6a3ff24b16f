"""Every format gives the same records, names and label maps; plain folders."""

import json
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.data.readers import register_from_cfg
from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


@pytest.mark.parametrize("kind", data.WRITERS)
def test_every_format_gives_names_records_and_the_true_maps(tmp_path, kind):
    line = register(data.WRITERS[kind](tmp_path / "set"), kind)
    assert "2 classes: bright, dark" in line
    metadata = MetadataCatalog.get("mine")
    assert metadata.stuff_classes == list(data.NAMES) == list(metadata.vocabulary.names)
    records = DatasetCatalog.get("mine")
    assert [r["file_name"][-6:] for r in records] == [f"{n:02d}.png" for n in range(4)]
    for number, label in enumerate(label_maps()):
        assert (label == data.truth(number)).all()


@pytest.mark.parametrize("kind", ["labelme", "coco", "coco_panoptic"])
def test_names_of_ones_own_decide_the_ids(tmp_path, kind):
    names = ["tree", "DARK", ["lamp", "bright"]]
    register(data.WRITERS[kind](tmp_path / "set"), kind, names=names)
    for number, label in enumerate(label_maps()):
        assert (label == 2 - data.truth(number)).all()
    assert MetadataCatalog.get("mine").stuff_classes == ["tree", "DARK", "lamp"]


@pytest.mark.parametrize("kind", ["labelme", "coco", "coco_panoptic"])
def test_a_label_that_is_no_name_is_refused_with_its_file_and_may_be_ignored(tmp_path, kind):
    data.WRITERS[kind](tmp_path / "set")
    with pytest.raises(ValueError, match=r"json.*out of the 2 names.*got 'bright'.*to 'ignore'"):
        register(tmp_path / "set", kind, names="dark; tree")
    register(tmp_path / "set", kind, names="dark; tree", ignore="Bright")
    assert (label_maps()[0] == np.where(data.truth(0) == 0, -1, 0)).all()


def test_a_synonym_of_two_classes_is_no_name(tmp_path):
    data.write_labelme(tmp_path / "set")
    with pytest.raises(ValueError, match="got 'bright'"):
        register(tmp_path / "set", "labelme", names="dark; lamp, bright; sun, bright")


def test_yaml_lists_and_mappings_stand_side_by_side(tmp_path, data_cfg):
    data.write_labelme(tmp_path / "a")
    data.write_plain(tmp_path / "b")
    short = ["b", *(f"{tmp_path}/b/{part}" for part in ("images", "labels", "names.txt"))]
    data_cfg.DATASETS.FOLDERS = [
        {"name": "a", "format": "labelme", "path": str(tmp_path / "a")},
        short,
    ]
    lines = register_from_cfg(data_cfg)
    assert [line.split(":")[0] for line in lines] == ["Data set a", "Data set b"]
    assert register_from_cfg(data_cfg) == lines
    data_cfg.DATASETS.FOLDERS[0]["names"] = "bright; dark; tree"
    with pytest.raises(ValueError, match="'a'.*registered for other data"):
        register_from_cfg(data_cfg)


def test_a_split_lies_below_images_and_labels(tmp_path):
    data.write_plain(tmp_path / "all")
    for part in ("images", "labels"):
        (tmp_path / "set" / part).mkdir(parents=True)
        shutil.copytree(tmp_path / "all" / part, tmp_path / "set" / part / "val")
    (tmp_path / "set" / "names.json").write_text(json.dumps({"classes": data.NAMES, "ignore": 1}))
    with pytest.raises(ValueError, match="ignored id from 2.*got 1"):
        register(tmp_path / "set", "folder", split="val")
    register(tmp_path / "set", "folder", split="val", ignore=9)
    assert len(DatasetCatalog.get("mine")) == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_with_reduce_zero_label_zero_is_no_class(tmp_path, dtype):
    data.write_plain(tmp_path / "set")
    expected = []
    for number in range(4):
        label = data.truth(number).astype(dtype) + 1
        label[0], label[1] = 0, 255
        Image.fromarray(label).save(tmp_path / "set" / "labels" / f"{number:02d}.png")
        expected.append(np.where((label == 0) | (label == 255), -1, label.astype(int) - 1))
    register(tmp_path / "set", "folder", reduce_zero_label=True)
    assert all((a == b).all() for a, b in zip(label_maps(), expected, strict=True))
    Image.fromarray(np.full((24, 32), 3, dtype)).save(tmp_path / "set" / "labels" / "00.png")
    with pytest.raises(ValueError, match="00.png: expected ids 0 to 2 .*got 3"):
        label_maps()


def test_several_ids_may_be_ignored(tmp_path):
    data.write_plain(tmp_path / "set")
    label = data.truth(0)
    label[0], label[1] = 7, 9
    Image.fromarray(label).save(tmp_path / "set" / "labels" / "00.png")
    register(tmp_path / "set", "folder", ignore=[7, 9])
    assert (label_maps()[0][:2] == -1).all()


def test_a_folder_without_names_tells_how_to_write_them(tmp_path):
    data.write_plain(tmp_path / "set")
    (tmp_path / "set" / "names.txt").unlink()
    with pytest.raises(FileNotFoundError, match="expected names.txt or names.json in .*set"):
        register(tmp_path / "set", "folder")
    register(tmp_path / "set", "folder", names="bright; dark")
