"""The target domain of the small world: same scenes, other light, no training labels."""

import zlib

import cv2
import numpy as np
import pytest

from stseg.small_world.names import CLASS_NAMES, SEEN_NAMES
from stseg.small_world.other_camera import TARGET_SEEDS, render_target, restyle
from stseg.small_world.scenes import render
from stseg.small_world.split_files import split_scene, write_split


def restyled(image, strength=1.0, seed=0):
    return restyle(image, np.random.default_rng(seed), strength)


def test_restyling_leaves_labels_and_captions_and_changes_the_picture():
    for index in range(5):
        plain, target = render(3, index), render_target(3, index)
        np.testing.assert_array_equal(plain.label_map, target.label_map)
        assert plain.caption == target.caption
        assert np.abs(plain.image.astype(int) - target.image).mean() > 10


def test_nothing_moves():
    """The outline of a white square stays where it was, up to the blur."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:40, 30:70] = 255
    for seed in range(5):
        bright = restyled(image, 0.9, seed).mean(-1) > 90
        inner, outer = image[..., 0] > 0, cv2.dilate(image[..., 0], np.ones((5, 5))) > 0
        assert bright[cv2.erode(image[..., 0], np.ones((5, 5))) > 0].mean() > 0.97
        assert bright[~outer].mean() < 0.03
        assert abs(int(bright.sum()) - int(inner.sum())) < 0.15 * inner.sum()


def test_the_same_arguments_give_the_same_bytes_on_every_machine():
    y, x, c = np.mgrid[0:40, 0:56, 0:3]
    image = ((7 * y + 11 * x + 50 * c) % 256).astype(np.uint8)
    assert zlib.crc32(restyled(image).tobytes()) == 2207055067


def test_scenes_do_not_depend_on_what_was_rendered_before_and_differ_in_style():
    alone = render_target(0, 3).image
    render_target(0, 2)
    np.testing.assert_array_equal(alone, render_target(0, 3).image)
    grey = np.full((32, 32, 3), 128, np.uint8)
    means = {restyled(grey, 0.9, seed).mean().round() for seed in range(8)}
    assert len(means) > 3


def test_strength_zero_changes_nothing_and_more_changes_more():
    image = render(0, 0).image
    np.testing.assert_array_equal(restyled(image, 0.0), image)
    changes = [np.abs(restyled(image, s).astype(int) - image).mean() for s in (0.2, 0.6, 1.0)]
    assert changes == sorted(changes)


@pytest.mark.parametrize("strength", [-0.1, 2.0, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="strength: expected 0 to"):
        restyled(np.zeros((8, 8, 3), np.uint8), strength)


def test_an_image_of_another_type_is_refused():
    with pytest.raises(ValueError, match="image: expected"):
        restyled(np.zeros((8, 8, 3), np.float32))


def test_no_label_or_caption_of_the_training_split_is_ever_written(tmp_path):
    for split in TARGET_SEEDS:
        write_split(tmp_path, split, 2)
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == sorted(TARGET_SEEDS)
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == ["target_dev", "target_val"]
    assert not (tmp_path / "captions_target_train.jsonl").exists()
    label = cv2.imread(str(tmp_path / "labels/target_dev/000001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(label, split_scene("target_dev", 1).label_map)


def test_training_images_are_registered_by_themselves_with_all_names(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    from detectron2.data import DatasetCatalog

    from stseg.data import dataset_vocabulary

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_split(tmp_path / "small_world", "train", 2)
    name, other = "small_world_train_images", "small_world_train_sem_seg"
    records, labelled = DatasetCatalog.get(name), DatasetCatalog.get(other)
    assert [r["file_name"] for r in records] == [r["file_name"] for r in labelled]
    assert not any("sem_seg_file_name" in record for record in records)
    assert dataset_vocabulary(name).names == CLASS_NAMES


def test_the_registered_splits_have_all_names_and_training_has_no_labels(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from stseg.data.datasets.register import register_small_world

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_small_world()
    for split in TARGET_SEEDS:
        write_split(tmp_path / "small_world", split, 2)
        name = f"small_world_{split}_sem_seg"
        records = DatasetCatalog.get(name)
        assert len(records) == 2
        assert all(("sem_seg_file_name" in r) == (split != "target_train") for r in records)
        metadata = MetadataCatalog.get(name)
        assert metadata.vocabulary.names == CLASS_NAMES
        marks = zip(CLASS_NAMES, metadata.vocabulary.seen, strict=True)
        assert all(seen == (class_name in SEEN_NAMES) for class_name, seen in marks)
        assert (metadata.sem_seg_root == "") == (split == "target_train")
