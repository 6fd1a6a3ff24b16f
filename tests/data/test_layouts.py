"""Peers' folders below one root, written out here path by path."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.data.datasets import (
    SPECS,
    VARIANTS,
    dataset_ignore_labels,
    dataset_label_ids,
    dataset_label_reader,
    dataset_layout,
    register,
)
from stseg.data.loaders import build_mapper
from stseg.evaluation import SemSegEvaluator
from stseg.evaluation.sem_seg_evaluator import STSegSemSegEvaluator

N = -1  # no class
VOC_BG = [20, 0, 4, 19, 255]
SED, SAN, EBSEG, FC_CLIP, OURS = "SED", "SAN", "EBSeg", "FC-CLIP", "ours"

# (convention, data set, image, label map, ids in the map, class ids they stand for)
FILES = [
    (
        SED,
        "coco_2017_test_stuff_all_sem_seg",
        "coco-stuff/images/val2017/a.jpg",
        "coco-stuff/annotations_detectron2/val2017/a.png",
        [0, 170, 255],
        [0, 170, N],
    ),
    (
        EBSEG,
        "coco_2017_test_stuff_all_sem_seg",
        "coco-stuff/images/val2017/a.jpg",
        "coco-stuff/stuffthingmaps_detectron2/val2017/a.png",
        [0, 170, 255],
        [0, 170, N],
    ),
    (
        SAN,
        "coco_2017_train_stuff_all_sem_seg",
        "coco/train2017/a.jpg",
        "coco/stuffthingmaps_detectron2/train2017/a.png",
        [0, 170, 255],
        [0, 170, N],
    ),
    (
        OURS,
        "coco_2017_train_stuff_base_sem_seg",
        "coco-stuff/images/train2017/a.jpg",
        "coco-stuff/annotations_detectron2_base/train2017/a.png",
        [18, 20, 170, 255],
        [18, 19, 155, N],
    ),
    (
        EBSEG,
        "coco_2017_train_stuff_base_sem_seg",
        "coco-stuff/images/train2017/a.jpg",
        "coco-stuff/stuffthingmaps_detectron2/train2017_base/a.png",
        [18, 19, 155, 255],
        [18, 19, 155, N],
    ),
    (
        SAN,
        "coco_2017_train_stuff_base_sem_seg",
        "coco/train2017/a.jpg",
        "coco/stuffthingmaps_detectron2/train2017_base/a.png",
        [18, 19, 155, 255],
        [18, 19, 155, N],
    ),
    (
        SED,  # maps of all classes: the cow (19) is not to be trained on
        "coco_2017_train_stuff_base_sem_seg",
        "coco-stuff/images/train2017/a.jpg",
        "coco-stuff/annotations_detectron2/train2017/a.png",
        [18, 19, 20, 170, 255],
        [18, N, 19, 155, N],
    ),
    (
        SED,
        "ade20k_150_test_sem_seg",
        "ADEChallengeData2016/images/validation/a.jpg",
        "ADEChallengeData2016/annotations_detectron2/validation/a.png",
        [0, 149, 255],
        [0, 149, N],
    ),
    (
        SED,
        "ade20k_150_train_sem_seg",
        "ADEChallengeData2016/images/training/a.jpg",
        "ADEChallengeData2016/annotations_detectron2/training/a.png",
        [0, 149, 255],
        [0, 149, N],
    ),
    (
        SED,
        "ade20k_full_train_sem_seg",
        "ADE20K_2021_17_01/images_detectron2/training/a.jpg",
        "ADE20K_2021_17_01/annotations_detectron2/training/a.tif",
        [0, 846, 65535],
        [0, 846, N],
    ),
    (
        SED,
        "context_59_train_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/annotations_detectron2/pc59_train/a.png",
        [0, 58, 255],
        [0, 58, N],
    ),
    (
        SAN,
        "context_59_test_sem_seg",
        "pcontext/val/image/a.jpg",
        "pcontext/val/label/a.png",
        [0, 58, 255],
        [0, 58, N],
    ),
    (
        FC_CLIP,
        "context_59_test_sem_seg",
        "pascal_ctx_d2/images/validation/a.jpg",
        "pascal_ctx_d2/annotations_ctx59/validation/a.png",
        [0, 58, 255],
        [0, 58, N],
    ),
    (
        "ov-seg",  # bag is id 20 there, bicycle 1, table 10
        "context_59_ovseg_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/annotations_detectron2/pc59_val/a.png",
        [0, 1, 20, 10, 255],
        [0, 5, 1, 49, N],
    ),
    (
        SED,
        "context_459_train_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/annotations_detectron2/pc459_train/a.tif",
        [0, 458, 459, 65535],
        [0, 458, N, N],
    ),
    (
        SAN,
        "context_459_test_sem_seg",
        "pcontext_full/val/image/a.jpg",
        "pcontext_full/val/label/a.tif",
        [0, 458, 65535],
        [0, 458, N],
    ),
    (
        FC_CLIP,
        "context_459_test_sem_seg",
        "pascal_ctx_d2/images/validation/a.jpg",
        "pascal_ctx_d2/annotations_ctx459/validation/a.tif",
        [0, 458, 65535],
        [0, 458, N],
    ),
    (
        SED,
        "voc_2012_train_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages/a.jpg",
        "VOCdevkit/VOC2012/annotations_detectron2/train/a.png",
        [0, 19, 255],
        [0, 19, N],
    ),
    (
        SAN,
        "voc_2012_test_sem_seg",
        "VOC2012/JPEGImages/a.jpg",
        "VOC2012/annotations_detectron2/val/a.png",
        [0, 19, 255],
        [0, 19, N],
    ),
    (
        FC_CLIP,
        "voc_2012_test_sem_seg",
        "pascal_voc_d2/images/validation/a.jpg",
        "pascal_voc_d2/annotations_pascal20/validation/a.png",
        [0, 19, 255],
        [0, 19, N],
    ),
    (
        OURS,
        "voc_2012_train_base_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages/a.jpg",
        "VOCdevkit/VOC2012/annotations_detectron2_base/train/a.png",
        [0, 14, 255],
        [0, 14, N],
    ),
    (
        FC_CLIP,
        "voc_2012_train_base_sem_seg",
        "pascal_voc_d2/images/training/a.jpg",
        "pascal_voc_d2/annotations_pascal20/training/a.png",
        [0, 14, 15, 19, 255],
        [0, 14, N, N, N],
    ),
    (
        OURS,
        "context_59_train_base_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/annotations_detectron2_base/pc59_train/a.png",
        [1, 58, 255],
        [0, 48, N],
    ),
    (
        SAN,  # aeroplane 0 and tvmonitor 54 are unseen
        "context_59_train_base_sem_seg",
        "pcontext/train/image/a.jpg",
        "pcontext/train/label/a.png",
        [0, 1, 54, 58, 255],
        [N, 0, N, 48, N],
    ),
    (
        OURS,
        "ade20k_full_train_base_sem_seg",
        "ADE20K_2021_17_01/images_detectron2/training/a.jpg",
        "ADE20K_2021_17_01/annotations_detectron2_base/training/a.tif",
        [0, 165, 167, 65535],
        [0, 165, 166, N],
    ),
    (
        SED,  # 166 is the first of the unseen
        "ade20k_full_train_base_sem_seg",
        "ADE20K_2021_17_01/images_detectron2/training/a.jpg",
        "ADE20K_2021_17_01/annotations_detectron2/training/a.tif",
        [0, 165, 166, 167, 846, 65535],
        [0, 165, N, 166, N, N],
    ),
    (
        SED,
        "voc_2012_test_background_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages/a.jpg",
        "VOCdevkit/VOC2012/annotations_detectron2_bg/val/a.png",
        VOC_BG,
        [20, 0, 4, 19, N],
    ),
    (
        FC_CLIP,
        "voc_2012_test_background_sem_seg",
        "pascal_voc_d2/images/validation/a.jpg",
        "pascal_voc_d2/annotations_pascal21/validation/a.png",
        [0, 1, 5, 20, 255],
        [20, 0, 4, 19, N],
    ),
    (
        OURS,
        "voc_2012_21_test_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages/a.jpg",
        "VOCdevkit/VOC2012/annotations_detectron2_21/val/a.png",
        [0, 1, 20, 255],
        [0, 1, 20, N],
    ),
    (
        FC_CLIP,
        "voc_2012_21_test_sem_seg",
        "pascal_voc_d2/images/validation/a.jpg",
        "pascal_voc_d2/annotations_pascal21/validation/a.png",
        [0, 1, 20, 255],
        [0, 1, 20, N],
    ),
    (
        OURS,
        "context_60_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages/a.jpg",
        "VOCdevkit/VOC2010/annotations_detectron2/pc59_val/a.png",
        [0, 58, 255],
        [1, 59, 0],
    ),
    (
        FC_CLIP,
        "context_60_test_sem_seg",
        "pascal_ctx_d2/images/validation/a.jpg",
        "pascal_ctx_d2/annotations_ctx59/validation/a.png",
        [0, 58, 255],
        [1, 59, 0],
    ),
    (
        OURS,
        "coco_object_81_test_sem_seg",
        "coco-stuff/images/val2017/a.jpg",
        "coco-stuff/annotations_detectron2/val2017/a.png",
        [0, 79, 80, 170, 255],
        [1, 80, 0, 0, N],
    ),
    (
        OURS,
        "cityscapes_19_train_sem_seg",
        "cityscapes/leftImg8bit/train/aachen/aachen_1_leftImg8bit.png",
        "cityscapes/annotations_detectron2/train/aachen/aachen_1_leftImg8bit.png",
        [0, 18, 255],
        [0, 18, N],
    ),
    (
        FC_CLIP,
        "cityscapes_19_test_sem_seg",
        "cityscapes/leftImg8bit/val/lindau/lindau_1_leftImg8bit.png",
        "cityscapes/gtFine/val/lindau/lindau_1_gtFine_labelTrainIds.png",
        [0, 18, 255],
        [0, 18, N],
    ),
]
IDS = [f"{convention}-{name}" for convention, name, *_ in FILES]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register._tell.cache_clear()
    return tmp_path


def _write(root, image, label, ids):
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    (root / label).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(ids), 1)).save(root / image)
    dtype = np.uint16 if label.endswith(".tif") else np.uint8
    Image.fromarray(np.array([ids], dtype=dtype)).save(root / label)


def _files(convention, name):
    return next(row[2:5] for row in FILES if row[:2] == (convention, name))


@pytest.mark.parametrize(("convention", "name", "image", "label", "ids", "classes"), FILES, ids=IDS)
def test_every_layout_is_found_and_read_in_our_order_of_classes(
    root, convention, name, image, label, ids, classes
):
    _write(root, image, label, ids)
    found = [{"file_name": str(root / image), "sem_seg_file_name": str(root / label)}]
    # Before the records are listed the metadata hold, too.
    assert dataset_label_reader(name)(str(root / label)).tolist() == [classes]
    assert DatasetCatalog.get(name) == found
    metadata = MetadataCatalog.get(name)
    assert str(root / image).startswith(metadata.image_root + "/")
    assert str(root / label).startswith(metadata.sem_seg_root + "/")
    assert metadata.label_ids == dataset_label_ids(name)
    assert metadata.ignore_labels == dataset_ignore_labels(name)
    official = {"SED": 459, "SAN": 65535, "FC-CLIP": 65535}
    if "459" in name:
        assert metadata.ignore_label == official[convention]
    elif "context_60" in name:  # what is 255 is a class
        assert metadata.ignore_label == 65535
    else:
        assert metadata.ignore_label == ids[-1]


@pytest.mark.parametrize(("convention", "name", "image", "label", "ids", "classes"), FILES, ids=IDS)
def test_mapper_and_evaluator_read_a_layout_alike(
    root, data_cfg, convention, name, image, label, ids, classes
):
    _write(root, image, label, ids)
    records = DatasetCatalog.get(name)
    evaluator = STSegSemSegEvaluator(name, fold_background="background" in name)
    truth = [c if c >= 0 else 0 for c in classes]
    evaluator.process(records, [{"sem_seg": np.array([truth])}])
    figures = evaluator.evaluate()["sem_seg"]
    assert figures["mIoU"] == figures["pACC"] == 100
    if MetadataCatalog.get(name).evaluator_type == "sem_seg":
        mapper = build_mapper(data_cfg, True, [name], augmentations=[])
        assert mapper(records[0])["sem_seg"].tolist() == [classes]


def _any_split(folder):
    return re.sub(r"(train|val)2017|training|validation|train|val", "*", folder)


def test_every_layout_of_the_table_is_tried_here():
    tried = {_any_split(label.rsplit("/", 1)[0]) for *_, label, _, _ in FILES}
    tried |= {_any_split(label.rsplit("/", 2)[0]) for *_, label, _, _ in FILES}
    layouts = [layout for spec in SPECS for layout in spec.layouts if layout.label_dir]
    assert {_any_split(layout.label_dir) for layout in layouts} <= tried


def test_of_two_layouts_the_first_is_taken_and_the_log_says_so(root, caplog):
    name = "context_59_test_sem_seg"
    for _, other, image, label, ids, _ in FILES:
        if other == name:
            _write(root, image, label, ids)
    with caplog.at_level(logging.WARNING):
        first = DatasetCatalog.get(name)
        assert DatasetCatalog.get(name) == first
    assert first[0]["sem_seg_file_name"] == str(root / "pcontext/val/label/a.png")
    said = [r.message for r in caplog.records if name in r.message]
    assert len(said) == 1
    assert "pcontext/val/label (SAN, EBSeg) is used" in said[0]
    assert "pascal_ctx_d2/annotations_ctx59/validation (FC-CLIP) is there, too" in said[0]


def test_a_layout_that_was_found_alone_is_told_but_is_no_warning(root, caplog):
    _write(root, *_files(SAN, "coco_2017_train_stuff_all_sem_seg"))
    with caplog.at_level(logging.INFO):
        DatasetCatalog.get("coco_2017_train_stuff_all_sem_seg")
    said = [r for r in caplog.records if "stuffthingmaps_detectron2" in r.message]
    assert [r.levelname for r in said] == ["INFO"]


def test_a_folder_that_a_script_made_and_never_filled_is_passed_over(root):
    (root / "VOCdevkit/VOC2010/JPEGImages").mkdir(parents=True)
    (root / "VOCdevkit/VOC2010/annotations_detectron2/pc59_val").mkdir(parents=True)
    _write(root, "pcontext/val/image/a.jpg", "pcontext/val/label/a.png", [0])
    assert len(DatasetCatalog.get("context_59_test_sem_seg")) == 1


def test_raw_cityscapes_maps_are_not_taken_for_prepared_ones(root):
    image = "cityscapes/leftImg8bit/val/lindau/lindau_1_leftImg8bit.png"
    _write(root, image, "cityscapes/gtFine/val/lindau/lindau_1_gtFine_labelIds.png", [7])
    with pytest.raises(FileNotFoundError, match="stseg data prepare cityscapes"):
        DatasetCatalog.get("cityscapes_19_test_sem_seg")


def test_cities_may_hold_images_of_one_name(root):
    for city in ("aachen", "bochum"):
        image = f"cityscapes/leftImg8bit/train/{city}/a_leftImg8bit.png"
        label = f"cityscapes/annotations_detectron2/train/{city}/a_leftImg8bit.png"
        _write(root, image, label, [0])
    records = DatasetCatalog.get("cityscapes_19_train_sem_seg")
    assert [r["file_name"].split("/")[-2] for r in records] == ["aachen", "bochum"]
    (root / "cityscapes/annotations_detectron2/train/bochum/a_leftImg8bit.png").unlink()
    with pytest.raises(ValueError, match="a label for every image"):
        DatasetCatalog.get("cityscapes_19_train_sem_seg")


def test_where_nothing_is_found_all_places_are_named(root):
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("voc_2012_test_sem_seg")
    for part in (
        "VOCdevkit/VOC2012/JPEGImages",
        "VOC2012/annotations_detectron2/val",
        "pascal_voc_d2/annotations_pascal20/validation",
        "prepare voc",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "image", "listed"),
    [
        ("context_59_train_images", "pcontext/train/image/a.jpg", ""),
        ("context_459_train_images", "pcontext_full/train/image/a.jpg", ""),
        ("context_459_train_images", "pascal_ctx_d2/images/training/a.jpg", ""),
        ("voc_2012_train_images", "VOC2012/JPEGImages/a.jpg", "VOC2012/train.txt"),
        ("voc_2012_train_images", "VOC2012/JPEGImages/a.jpg", "VOC2012/trainaug.txt"),
        ("voc_2012_train_images", "pascal_voc_d2/images/training/a.jpg", ""),
    ],
)
def test_images_without_labels_are_found_in_peers_layouts(root, name, image, listed):
    (root / image).parent.mkdir(parents=True)
    (root / image).write_bytes(b"never opened")
    if listed:
        (root / listed).write_text("a\n")
        (root / image).with_name("b.jpg").write_bytes(b"")
    assert DatasetCatalog.get(name) == [{"file_name": str(root / image)}]


def test_other_words_are_asked_of_the_same_files(root):
    _write(root, *_files(SAN, "context_59_test_sem_seg"))
    name = "context_59_test_sem_seg"
    assert DatasetCatalog.get(f"{name}_synonyms") == DatasetCatalog.get(name)
    spec = next(s for s in SPECS if s.name == name)
    assert dataset_layout(spec).convention == "SAN, EBSeg"


def test_data_sets_of_two_orders_of_ids_do_not_train_together(root, data_cfg):
    names = ["context_59_test_sem_seg", "context_59_ovseg_test_sem_seg"]
    with pytest.raises(ValueError, match="one order of ids, got context_59_test_sem_seg, context"):
        build_mapper(data_cfg, True, names)


def test_another_projects_reader_of_label_files_is_translated_too(root):
    _, name, image, label, ids, classes = next(row for row in FILES if row[0] == "ov-seg")
    _write(root, image, label, ids)
    evaluator = SemSegEvaluator(name, sem_seg_loading_fn=lambda path, dtype: np.array([ids]))
    assert evaluator._read_label(label).tolist() == [classes]
    evaluator = SemSegEvaluator(name, sem_seg_loading_fn=lambda path, dtype: np.array([[59]]))
    with pytest.raises(ValueError, match="ids 0 to 58 or the ignored 255, got 59"):
        evaluator._read_label(label)


def test_seen_and_unseen_figures_come_of_the_zero_shot_name_alone(root):
    image = "VOCdevkit/VOC2012/JPEGImages/a.jpg"
    _write(root, image, "VOCdevkit/VOC2012/annotations_detectron2/val/a.png", [0, 0, 15, 15])
    for ending in ("", "_zero_shot"):
        name = f"voc_2012_test_sem_seg{ending}"
        evaluator = STSegSemSegEvaluator(name)
        evaluator.process(DatasetCatalog.get(name), [{"sem_seg": np.array([[0, 0, 15, 14]])}])
        figures = evaluator.evaluate()["sem_seg"]
        assert figures["mIoU"] == pytest.approx(75)
        assert ("unseen mIoU" in figures) == bool(ending)
    assert (figures["seen mIoU"], figures["unseen mIoU"]) == (100, 50)


def test_the_readme_tells_every_name_folder_and_script():
    readme = (Path(__file__).parents[2] / "datasets" / "README.md").read_text(encoding="utf-8")
    for spec in SPECS:
        assert f"`{spec.name}`" in readme
        assert not spec.prepared_by or f"`{spec.prepared_by}`" in readme
        assert not spec.label_dir or f"`{spec.label_dir}" in readme, spec.label_dir
    for spec in VARIANTS:
        told = spec.asked in readme if spec.asked else f"`{spec.name}`" in readme
        assert told, spec.name
