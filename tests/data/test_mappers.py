import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image

from stseg.data import opening
from stseg.data.augmentation import build_augmentations
from stseg.data.image_io import BrokenFileError
from stseg.data.loaders import build_mapper
from stseg.data.mappers import STSegSemanticMapper
from stseg.data.readers import register_folder
from stseg.data.sampling import seeded
from stseg.structures import IGNORE_LABEL, Vocabulary
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
    with pytest.raises(ValueError, match="INPUT.FORMAT: expected one of RGB"):
        build_mapper(data_cfg, True, ["tiny"])
    data_cfg.INPUT.MAPPER_NAME = "Nothing"
    with pytest.raises(ValueError, match="INPUT.MAPPER_NAME: expected one of STSegCaption"):
        build_mapper(data_cfg, True, ["tiny"])


def _both_views(data_cfg, tmp_path, seed, **options):
    write_pair(tmp_path, "a", np.kron(np.eye(2), np.ones((12, 20))).astype(np.uint8))
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    mapper = STSegSemanticMapper(
        is_train=True,
        augmentations=build_augmentations(data_cfg, True),
        vocabulary=Vocabulary.from_names(NAMES),
        **options,
    )
    with seeded(seed):
        item = mapper(_record(tmp_path, "a"))
        return item, (random.random(), np.random.rand())


def test_the_weak_view_shows_the_same_pixels_in_their_own_colours(data_cfg, tmp_path):
    plain = data_cfg.clone()
    plain.INPUT.COLOR_AUG_SSD = False
    changed = 0
    for seed in range(12):
        item, after = _both_views(data_cfg, tmp_path, seed, weak_view=True)
        same, after_same = _both_views(plain, tmp_path, seed)
        assert torch.equal(item["weak_image"], same["image"])
        assert torch.equal(item["sem_seg"], same["sem_seg"]) and after[1] == after_same[1]
        changed += not torch.equal(item["image"], item["weak_image"])
    assert changed > 6


def test_the_weak_view_moves_no_random_stream(data_cfg, tmp_path):
    for seed in range(6):
        with_weak, after = _both_views(data_cfg, tmp_path, seed, weak_view=True)
        without, after_without = _both_views(data_cfg, tmp_path, seed)
        assert torch.equal(with_weak["image"], without["image"]) and after == after_without
        assert "weak_image" not in without and "inside" not in without


def test_padding_is_told_from_the_image(data_cfg, tmp_path):
    data_cfg.INPUT.MIN_SIZE_TRAIN, data_cfg.INPUT.CROP.SIZE = (24,), [32, 64]
    item, _ = _both_views(data_cfg, tmp_path, 0, weak_view=True)
    assert item["inside"].dtype == torch.bool and item["inside"].shape == (32, 64)
    assert item["inside"][:24, :40].all() and item["inside"].sum() == 24 * 40
    assert (item["weak_image"][:, ~item["inside"]] == 128).all()


def test_weights_move_with_the_labels_and_padding_weighs_one(data_cfg, tmp_path):
    data_cfg.INPUT.MIN_SIZE_TRAIN, data_cfg.INPUT.CROP.SIZE = (20, 28), [32, 48]
    labels = np.kron(np.eye(2), np.ones((12, 20))).astype(np.uint8)
    write_pair(tmp_path, "a", labels)
    Image.fromarray(51 + 102 * labels).save(tmp_path / "weights.png")
    mapper = _mapper(augmentations=build_augmentations(data_cfg, True))
    plain = _record(tmp_path, "a")
    record, flipped = plain | {"sem_seg_weight_file_name": str(tmp_path / "weights.png")}, set()
    for seed in range(8):
        with seeded(seed):
            item = mapper(record)
        with seeded(seed):
            same = mapper(plain)
        found, label = item["sem_seg_weight"], item["sem_seg"]
        assert found.dtype == torch.float32 and found.is_contiguous()
        wanted = torch.where(label == IGNORE_LABEL, 1.0, 0.2 + 0.4 * label)
        torch.testing.assert_close(found, wanted)
        assert torch.equal(label, same["sem_seg"]) and torch.equal(item["image"], same["image"])
        assert "sem_seg_weight" not in same
        flipped.add(label[0, 0].item())
    assert flipped == {0, 1}


def test_weights_of_another_size_are_named(tmp_path):
    write_pair(tmp_path, "a", np.zeros((24, 40), np.uint8))
    Image.new("L", (24, 40)).save(tmp_path / "w.png")
    record = _record(tmp_path, "a") | {"sem_seg_weight_file_name": str(tmp_path / "w.png")}
    with pytest.raises(ValueError, match=r"Weights .*w.png: expected.*a.png, 40x24, got 24x40"):
        _mapper()(record)
    assert "sem_seg_weight" not in _mapper(is_train=False)(record)


@pytest.mark.parametrize("cap", [0.75, 1.0])
def test_images_without_labels_can_be_cropped_for_training(data_cfg, tmp_path, cap):
    data_cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = cap
    write_pair(tmp_path, "a", np.zeros((40, 56), dtype=np.uint8))
    mapper = STSegSemanticMapper(
        is_train=True,
        augmentations=build_augmentations(data_cfg, True),
        vocabulary=Vocabulary.from_names(NAMES),
        weak_view=True,
        allow_unlabelled=True,
    )
    item = mapper({"file_name": _record(tmp_path, "a")["file_name"]})
    assert "sem_seg" not in item and item["weak_image"].shape == (3, 32, 32)
    assert "sem_seg" in mapper(_record(tmp_path, "a"))


def test_labels_of_another_vocabulary_are_translated(tmp_path):
    label = np.array([[0, 5], [255, 2]], dtype=np.uint8)
    write_pair(tmp_path, "a", label)
    translation = np.array([3, IGNORE_LABEL, 0, 1, 1, 2])
    mapper = STSegSemanticMapper(
        is_train=True,
        augmentations=[],
        vocabulary=Vocabulary.from_names(NAMES),
        translation=translation,
    )
    assert mapper(_record(tmp_path, "a"))["sem_seg"].tolist() == [[3, 2], [IGNORE_LABEL, 0]]
    write_pair(tmp_path, "a", np.full((2, 2), 6, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"\(6 classes\).*got 6"):
        mapper(_record(tmp_path, "a"))


def test_every_training_set_brings_its_own_id_without_a_class(tmp_path, data_cfg, clean_catalog):
    for name, ignored in (("one", 77), ("two", 88)):
        register_folder(name, *write_folder(tmp_path / name), ignore_label=ignored)
    label = np.array([[0, 77], [88, 1]], dtype=np.uint8)
    write_pair(tmp_path, "a", label)
    data_cfg.INPUT.CROP.ENABLED, data_cfg.INPUT.RANDOM_FLIP = False, "none"
    item = build_mapper(data_cfg, True, ["one", "two"])(_record(tmp_path, "a"))
    side = item["sem_seg"].shape[0]
    corners = item["sem_seg"][:: side - 1, :: side - 1]
    assert corners.tolist() == [[0, IGNORE_LABEL], [IGNORE_LABEL, 1]]


def _turned_pair(root, orientation, stored):
    """A photograph stored at a size, (width, height), and a label drawn on what is stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for folder in ("images", "labels"):
        (root / folder).mkdir(exist_ok=True)
    Image.new("RGB", stored).save(root / "images" / "a.png", exif=exif)
    Image.new("L", stored).save(root / "labels" / "a.png")
    return _record(root, "a")


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    "orientation, stored", [(3, (30, 20)), (4, (9, 7)), (6, (8, 8)), (7, (8, 8))]
)
def test_labels_that_may_have_been_drawn_before_exif_turned_the_image_are_told_once(
    tmp_path, caplog, monkeypatch, orientation, stored, is_train
):
    monkeypatch.setattr(opening, "_told", set())
    record = _turned_pair(tmp_path, orientation, stored)
    for _ in range(2):
        _mapper(is_train)(record)
    told = [text for text in caplog.messages if "EXIF" in text and record["file_name"] in text]
    assert len(told) == 1
    caplog.clear()
    monkeypatch.setattr(opening, "_told", set())
    _mapper(False)({"file_name": record["file_name"]})
    _mapper(is_train)(_turned_pair(tmp_path, 1, stored))
    assert not caplog.messages


def test_a_label_that_was_drawn_before_exif_turned_the_image_is_named_so(tmp_path):
    with pytest.raises(ValueError, match=r"got 30x20 .*before its EXIF rotation"):
        _mapper()(_turned_pair(tmp_path, 8, (30, 20)))
