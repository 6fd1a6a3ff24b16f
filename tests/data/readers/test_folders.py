import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.data.mappers import STSegSemanticMapper
from stseg.data.readers import register_folder, register_from_cfg
from tests.helpers.tiny_data import NAMES, write_folder

pytestmark = pytest.mark.usefixtures("clean_catalog")


def test_a_folder_becomes_a_data_set(tmp_path):
    register_folder("tiny", *write_folder(tmp_path))
    records, metadata = DatasetCatalog.get("tiny"), MetadataCatalog.get("tiny")
    assert [r["file_name"][-10:] for r in records] == [f"scene{i}.png" for i in range(6)]
    assert metadata.stuff_classes == NAMES
    assert metadata.vocabulary.names == tuple(NAMES)
    assert metadata.ignore_label == 255
    assert metadata.evaluator_type == "sem_seg"


def test_config_entries_are_registered_once_and_relative_to_the_working_directory(
    tmp_path, monkeypatch, data_cfg
):
    write_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    data_cfg.merge_from_list(
        ["DATASETS.FOLDERS", "[['t', 'mine/images', 'mine/labels', 'mine/names.json']]"]
    )
    register_from_cfg(data_cfg)
    register_from_cfg(data_cfg)
    assert len(DatasetCatalog.get("t")) == 6


def test_a_name_in_use_is_refused_for_other_data(tmp_path):
    register_folder("tiny", *write_folder(tmp_path / "a"))
    with pytest.raises(ValueError, match="'tiny'.*registered for other data"):
        register_folder("tiny", *write_folder(tmp_path / "b"))
    with pytest.raises(ValueError, match="registered for other data"):
        register_folder("voc_2012_test_sem_seg", *write_folder(tmp_path / "a"))


@pytest.mark.parametrize("missing", ["images", "labels", "names.json"])
def test_a_missing_path_is_named_absolutely(tmp_path, monkeypatch, missing):
    write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    paths = [p if p != missing else "gone" for p in ("images", "labels", "names.json")]
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.FOLDERS") as caught:
        register_folder("tiny", *paths)
    assert str(tmp_path / "gone") in str(caught.value)


@pytest.mark.parametrize("entry", ["tiny", ["a", "b", "c"], ["a", "b", None, "d"]])
def test_a_malformed_entry_is_named_by_its_place(data_cfg, entry):
    data_cfg.DATASETS.FOLDERS = [entry]
    with pytest.raises(ValueError, match=r"DATASETS.FOLDERS\[0\]"):
        register_from_cfg(data_cfg)


def test_images_without_labels_may_be_listed(tmp_path):
    images, _, names = write_folder(tmp_path)
    register_folder("tiny", images, "", names)
    assert all(set(r) == {"file_name"} for r in DatasetCatalog.get("tiny"))


def test_names_may_be_a_text_file(tmp_path):
    images, labels, _ = write_folder(tmp_path)
    (tmp_path / "names.txt").write_text("sky\nroad, street\ntree\ncar\n")
    register_folder("tiny", images, labels, tmp_path / "names.txt")
    assert MetadataCatalog.get("tiny").vocabulary.synonyms[1] == ("road", "street")


@pytest.mark.parametrize(("count", "ignore"), [(255, 255), (256, 65535)])
def test_the_ignored_id_is_no_class_by_default(tmp_path, count, ignore):
    images, labels, _ = write_folder(tmp_path)
    (tmp_path / "names.json").write_text(json.dumps([f"class {i}" for i in range(count)]))
    register_folder("tiny", images, labels, tmp_path / "names.json")
    assert MetadataCatalog.get("tiny").ignore_label == ignore


def test_an_ignored_id_that_is_a_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ignored id from 4.*got 3"):
        register_folder("tiny", *write_folder(tmp_path), ignore_label=3)


def test_files_that_are_not_images_are_left_out(tmp_path):
    paths = write_folder(tmp_path)
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "images" / "._scene0.png").write_bytes(b"")
    register_folder("tiny", *paths)
    assert len(DatasetCatalog.get("tiny")) == 6


def test_an_empty_folder_is_named(tmp_path):
    paths = write_folder(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    register_folder("tiny", empty, *paths[1:])
    with pytest.raises(ValueError, match="expected images in .*empty"):
        DatasetCatalog.get("tiny")


def test_palette_labels_and_jpeg_images_are_read(tmp_path):
    paths = write_folder(tmp_path, count=1)
    image = Image.open(tmp_path / "images" / "scene0.png")
    image.save(tmp_path / "images" / "scene0.JPG")
    (tmp_path / "images" / "scene0.png").unlink()
    label = Image.open(tmp_path / "labels" / "scene0.png")
    ids = np.array(label)
    label.putpalette([i for c in range(256) for i in (c, 255 - c, 0)])
    label.save(tmp_path / "labels" / "scene0.png")
    register_folder("tiny", *paths)
    metadata = MetadataCatalog.get("tiny")
    mapper = STSegSemanticMapper(
        is_train=True, augmentations=[], vocabulary=metadata.vocabulary, ignore_labels=(255,)
    )
    assert (mapper(DatasetCatalog.get("tiny")[0])["sem_seg"].numpy() == ids).all()


def test_camvid_is_a_folder_data_set(shared_dir):
    camvid = shared_dir / "data" / "camvid"
    for split, count in (("train", 367), ("val", 101)):
        name = f"camvid_{split}"
        register_folder(
            name, camvid / "images" / split, camvid / "labels" / split, camvid / "names.json"
        )
        records, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
        assert len(records) == count
        assert len(metadata.vocabulary) == 11
        mapper = STSegSemanticMapper(
            is_train=True,
            augmentations=[],
            vocabulary=metadata.vocabulary,
            ignore_labels=metadata.ignore_labels,
        )
        for record in records[::20]:
            assert mapper(record)["sem_seg"].max() <= 10
