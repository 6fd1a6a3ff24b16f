import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from stseg.data.build import build_mapper
from stseg.data.datasets import register_folder
from stseg.data.image_io import BrokenFileError
from stseg.data.mappers import STSegSemanticMapper
from stseg.structures import Vocabulary
from tests.helpers.tiny_data import NAMES, write_folder, write_pair


def _record(root, stem):
    return {
        "file_name": str(root / "images" / f"{stem}.png"),
        "sem_seg_file_name": str(root / "labels" / f"{stem}.png"),
    }


def _mapper(is_train=True, augmentations=()):
    return STSegSemanticMapper(
        is_train=is_train, augmentations=augmentations, vocabulary=Vocabulary.from_names(NAMES)
    )


def test_a_training_item_keeps_the_contract(tmp_path, data_cfg, clean_catalog):
    register_folder("tiny", *write_folder(tmp_path))
    mapper = build_mapper(data_cfg, True, ["tiny"])
    record = _record(tmp_path, "scene0")
    item = mapper(record)
    assert item["image"].dtype == torch.uint8 and item["image"].shape == (3, 32, 32)
    assert item["sem_seg"].dtype == torch.int64 and item["sem_seg"].shape == (32, 32)
    assert (item["height"], item["width"]) == (40, 56)
    assert item["file_name"] == record["file_name"]
    assert item["sem_seg_file_name"] == record["sem_seg_file_name"]
    assert item["vocabulary"].names == tuple(NAMES)
    assert set(record) == {"file_name", "sem_seg_file_name"}
    assert pickle.loads(pickle.dumps(item))["vocabulary"] == item["vocabulary"]


def test_a_test_item_is_resized_by_pillow_and_keeps_the_file_size(
    tmp_path, data_cfg, clean_catalog
):
    register_folder("tiny", *write_folder(tmp_path))
    item = build_mapper(data_cfg, False, ["tiny"])(_record(tmp_path, "scene0"))
    image = Image.open(tmp_path / "images" / "scene0.png")
    expected = np.asarray(image.resize((34, 24), Image.Resampling.BILINEAR))
    assert (item["image"].permute(1, 2, 0).numpy() == expected).all()
    assert (item["height"], item["width"]) == (40, 56)
    assert "sem_seg" not in item


def test_test_images_keep_their_size_when_resizing_is_off(tmp_path, data_cfg, clean_catalog):
    register_folder("tiny", *write_folder(tmp_path))
    data_cfg.INPUT.MIN_SIZE_TEST = 0
    item = build_mapper(data_cfg, False, ["tiny"])(_record(tmp_path, "scene0"))
    assert item["image"].shape == (3, 40, 56)


def test_an_image_and_a_label_of_different_size_are_both_named(tmp_path):
    image = np.zeros((8, 12, 3), dtype=np.uint8)
    write_pair(tmp_path, "odd", np.zeros((12, 8), dtype=np.uint8), image)
    with pytest.raises(ValueError) as caught:
        _mapper()(_record(tmp_path, "odd"))
    for part in (*_record(tmp_path, "odd").values(), "12x8", "8x12"):
        assert part in str(caught.value)


def test_an_id_outside_the_vocabulary_is_named(tmp_path):
    write_pair(tmp_path, "odd", np.full((4, 4), 4, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"odd\.png.*\(4 classes\).*got 4\."):
        _mapper()(_record(tmp_path, "odd"))


def test_a_broken_image_is_named(tmp_path):
    write_pair(tmp_path, "odd", np.zeros((4, 4), dtype=np.uint8))
    (tmp_path / "images" / "odd.png").write_bytes(b"")
    with pytest.raises(BrokenFileError, match="images.odd.png"):
        _mapper(is_train=False)(_record(tmp_path, "odd"))


def test_training_on_an_image_without_label_is_refused(tmp_path):
    write_pair(tmp_path, "odd", np.zeros((4, 4), dtype=np.uint8))
    record = {"file_name": _record(tmp_path, "odd")["file_name"]}
    assert "sem_seg" not in _mapper(is_train=False)(record)
    with pytest.raises(ValueError, match="expected a label map for training"):
        _mapper()(record)


def test_unknown_mapper_and_channel_order_are_refused_by_key(tmp_path, data_cfg, clean_catalog):
    register_folder("tiny", *write_folder(tmp_path))
    data_cfg.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match="INPUT.FORMAT: expected 'RGB'"):
        build_mapper(data_cfg, True, ["tiny"])
    data_cfg.INPUT.MAPPER_NAME = "Nothing"
    with pytest.raises(ValueError, match="INPUT.MAPPER_NAME: expected one of STSegSemanticMapper"):
        build_mapper(data_cfg, True, ["tiny"])
