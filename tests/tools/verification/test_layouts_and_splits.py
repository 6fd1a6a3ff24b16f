"""Names that read other files, or read them otherwise, are judged by what their files hold."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.planted import blocks, check, codes, plant

COCO, COCO_BASE = "coco_2017_train_stuff_all_sem_seg", "coco_2017_train_stuff_base_sem_seg"
PC59, PC59_OVSEG = "context_59_test_sem_seg", "context_59_ovseg_test_sem_seg"
VOC_21, VOC_20B = "voc_2012_21_test_sem_seg", "voc_2012_test_background_sem_seg"
COW, SUITCASE = 19, 28  # unseen of the 156/15 split


def write(root, folders, labels, size=(24, 32)):
    for folder, suffix in zip(folders, (".jpg", ".png"), strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for k, label in enumerate(labels):
            image = np.zeros((*size, 3), np.uint8) if suffix == ".jpg" else label
            Image.fromarray(image).save(root / folder / f"{k:04}{suffix}")


def test_an_unseen_class_in_zero_shot_training_labels_is_a_leak(root):
    _, labels = plant(root, COCO_BASE, [blocks([0, 170, 255]), blocks([0, COW, SUITCASE])])
    report = check(COCO_BASE)
    assert codes(report) == ["withheld-classes"]
    finding = next(f for f in report.findings if f.code == "withheld-classes")
    assert "19 cow, 28 suitcase" in finding.text and finding.files == (str(labels[1]),)


def test_maps_of_all_classes_may_serve_a_zero_shot_split(root):
    plant(root, COCO, [blocks([0, COW, 255])])
    assert codes(check(COCO_BASE)) == []


def test_each_order_of_pascal_context_is_right_under_its_own_name(root):
    plant(root, PC59, [blocks([49, 53, 35, 7])] * 10)
    assert codes(check(PC59)) == ["context-59-order"] and codes(check(PC59_OVSEG)) == []


def test_the_usual_order_is_wrong_under_the_name_of_the_other(root):
    plant(root, PC59, [blocks([46, 52, 28, 7])] * 10)
    assert codes(check(PC59)) == [] and codes(check(PC59_OVSEG)) == ["context-59-order"]


def test_a_peers_layout_is_checked_where_it_lies(root):
    write(
        root,
        ("coco/train2017", "coco/stuffthingmaps_detectron2/train2017"),
        [blocks([0, 5, 255]), blocks([0, 181])],
    )
    report = check(COCO)
    assert codes(report) == ["unprepared-coco"] and report.num_images == 2


@pytest.mark.parametrize("name", [VOC_21, VOC_20B])
def test_a_peers_maps_in_another_encoding_pass_where_they_are_translated(root, name):
    write(
        root,
        ("pascal_voc_d2/images/validation", "pascal_voc_d2/annotations_pascal21/validation"),
        [blocks([0, 0, k, 255]) for k in (1, 7, 20)],
    )
    assert codes(check(name)) == []
    label = root / "pascal_voc_d2/annotations_pascal21/validation/0000.png"
    for path in label.parent.iterdir():
        Image.fromarray(blocks([20, 20, 3, 255])).save(path)
    assert codes(check(name)) == ["other-voc-maps"]
