import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.data.datasets import SPECS, dataset_vocabulary, register_benchmarks
from stseg.data.mappers import STSegSemanticMapper
from tests.helpers.real_root import link_real_root

SIZES = {
    "coco_2017_train_stuff_all_sem_seg": (171, 10),
    "coco_2017_test_stuff_all_sem_seg": (171, 4),
    "ade20k_150_test_sem_seg": (150, 2),
    "ade20k_full_sem_seg_freq_val_all": (847, 2),
    "context_59_test_sem_seg": (59, 3),
    "context_459_test_sem_seg": (459, 3),
    "voc_2012_test_sem_seg": (20, 3),
    "voc_2012_test_background_sem_seg": (59, 3),
}

# Name: how many names a model is asked for. The shared samples have no label maps of these.
WITHOUT_SAMPLES = {
    "ade20k_150_train_sem_seg": 150,
    "ade20k_full_train_sem_seg": 847,
    "context_59_train_sem_seg": 59,
    "context_459_train_sem_seg": 459,
    "voc_2012_train_sem_seg": 20,
    "voc_2012_21_test_sem_seg": 21,
    "voc_2012_train_base_sem_seg": 15,
    "coco_2017_train_stuff_base_sem_seg": 156,
    "context_59_train_base_sem_seg": 49,
    "ade20k_full_train_base_sem_seg": 572,
    "cityscapes_19_train_sem_seg": 19,
    "cityscapes_19_test_sem_seg": 19,
    "context_60_test_sem_seg": 60,
    "coco_object_81_test_sem_seg": 81,
}

IMAGES_ONLY = {
    "ade20k_150_train_images": "ade20k_150_test_sem_seg",
    "ade20k_full_train_images": "ade20k_full_sem_seg_freq_val_all",
    "context_59_train_images": "context_59_test_sem_seg",
    "context_459_train_images": "context_459_test_sem_seg",
    "voc_2012_train_images": "voc_2012_test_sem_seg",
}


@pytest.fixture
def real_root(tmp_path, shared_dir, monkeypatch):
    root = link_real_root(tmp_path, shared_dir)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


def _spec(name):
    return next(spec for spec in SPECS if spec.name == name)


def test_the_table_holds_the_peers_names_training_splits_and_the_images_of_stage_2():
    assert {spec.name for spec in SPECS} == set(SIZES) | set(WITHOUT_SAMPLES) | set(IMAGES_ONLY)


def _make_images(root, spec, stems):
    (root / spec.image_dir).mkdir(parents=True)
    for stem in stems:
        (root / spec.image_dir / f"{stem}.jpg").write_bytes(b"never opened")
    if spec.image_list:
        (root / spec.image_list).parent.mkdir(parents=True)
        (root / spec.image_list).write_text("a\nc\n")


@pytest.mark.parametrize(("name", "tested"), IMAGES_ONLY.items())
def test_images_of_a_training_split_come_without_labels_under_the_tested_names(
    name, tested, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    spec = _spec(name)
    _make_images(tmp_path, spec, "abc")
    records = DatasetCatalog.get(name)
    stems = "ac" if "VOC" in spec.image_dir else "abc"
    folder = tmp_path / spec.image_dir
    assert records == [{"file_name": str(folder / f"{stem}.jpg")} for stem in stems]
    assert dataset_vocabulary(name) == dataset_vocabulary(tested)
    assert MetadataCatalog.get(name).sem_seg_root == ""


def test_a_listed_image_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    _make_images(tmp_path, _spec("voc_2012_train_images"), "ab")
    with pytest.raises(ValueError, match=r"Segmentation/train.txt lists, got 1 of 2 missing: c"):
        DatasetCatalog.get("voc_2012_train_images")


def test_a_missing_list_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    spec = _spec("context_59_train_images")
    _make_images(tmp_path, spec, "ab")
    (tmp_path / spec.image_list).unlink()
    with pytest.raises(FileNotFoundError, match=r"VOC2010/ImageSets/Main/train.txt, got nothing"):
        DatasetCatalog.get(spec.name)


@pytest.mark.parametrize("name", [*SIZES, *WITHOUT_SAMPLES])
def test_metadata_is_complete(name):
    classes = SIZES[name][0] if name in SIZES else WITHOUT_SAMPLES[name]
    metadata = MetadataCatalog.get(name)
    assert len(metadata.vocabulary) == classes
    assert metadata.ignore_label == metadata.ignore_labels[0]
    assert metadata.ignore_label == {459: 459, 847: 65535, 572: 65535, 60: 65535}.get(classes, 255)
    background = name == "voc_2012_test_background_sem_seg"
    assert metadata.evaluator_type == ("sem_seg_background" if background else "sem_seg")
    assert len(metadata.stuff_classes) == (21 if background else classes)
    assert len(set(metadata.stuff_classes)) == len(metadata.stuff_classes)
    assert metadata.image_root and metadata.sem_seg_root


def test_the_background_of_voc_is_its_last_label():
    metadata = MetadataCatalog.get("voc_2012_test_background_sem_seg")
    assert metadata.stuff_classes[20] == "background"
    assert metadata.stuff_classes[:20] == list(metadata.vocabulary.names[:20])


def test_synonyms_of_ade_847_are_parted():
    vocabulary = dataset_vocabulary("ade20k_full_sem_seg_freq_val_all")
    assert vocabulary.synonyms[1] == ("building", "edifice")
    assert sum(len(group) for group in vocabulary.synonyms) == 1281


@pytest.mark.parametrize("name", SIZES)
def test_every_real_sample_goes_through_the_test_and_the_training_mapper(name, real_root):
    classes, count = SIZES[name]
    records = DatasetCatalog.get(name)
    assert len(records) == count
    metadata = MetadataCatalog.get(name)
    assert metadata.image_root.startswith(str(real_root))
    for is_train in (False, True):
        if is_train and metadata.evaluator_type != "sem_seg":
            continue
        mapper = STSegSemanticMapper(
            is_train=is_train,
            augmentations=[],
            vocabulary=metadata.vocabulary,
            ignore_labels=metadata.ignore_labels,
        )
        for record in records:
            item = mapper(record)
            assert item["image"].shape == (3, item["height"], item["width"])
            assert item["vocabulary"] is metadata.vocabulary
            if is_train:
                assert item["sem_seg"].shape == item["image"].shape[1:]
                assert -1 <= item["sem_seg"].min() <= item["sem_seg"].max() < classes
                assert (item["sem_seg"] >= 0).any()


def test_a_missing_folder_is_named_with_the_variable_and_the_script(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("ade20k_full_sem_seg_freq_val_all")
    for part in ("images_detectron2", "DETECTRON2_DATASETS", "elsewhere", "prepare ade20k_full"):
        assert part in str(caught.value)


def test_without_the_variable_the_folder_datasets_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("voc_2012_test_sem_seg")
    assert f"is not set, so {tmp_path / 'datasets'} is used" in str(caught.value)


def test_the_root_is_read_when_the_data_set_is_asked_for(real_root, tmp_path, monkeypatch):
    assert DatasetCatalog.get("ade20k_150_test_sem_seg")
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(other))
    with pytest.raises(FileNotFoundError):
        DatasetCatalog.get("ade20k_150_test_sem_seg")


@pytest.mark.parametrize("orphan", ["image", "label"])
def test_an_image_or_a_label_without_partner_is_named(real_root, orphan):
    spec = _spec("coco_2017_train_stuff_all_sem_seg")
    folder = real_root / (spec.label_dir if orphan == "image" else spec.image_dir)
    next(folder.glob("000000017914.*")).unlink()
    with pytest.raises(ValueError, match=r"000000017914\.(jpg|png)"):
        DatasetCatalog.get(spec.name)


def test_images_of_other_splits_beside_voc_images_are_left_out(real_root):
    spec = _spec("voc_2012_test_sem_seg")
    (real_root / spec.image_dir / "2007_000001.jpg").write_bytes(b"never opened")
    assert len(DatasetCatalog.get(spec.name)) == 3


def test_two_images_of_one_stem_are_refused(real_root):
    spec = _spec("ade20k_150_test_sem_seg")
    (real_root / spec.image_dir / "ADE_val_00000001.png").write_bytes(b"")
    with pytest.raises(ValueError, match="one file per stem"):
        DatasetCatalog.get(spec.name)


def test_registering_twice_changes_nothing():
    before = list(DatasetCatalog)
    register_benchmarks()
    assert list(DatasetCatalog) == before


def test_import_survives_another_project_with_the_same_names():
    code = (
        "from detectron2.data import DatasetCatalog as D, MetadataCatalog as M\n"
        "D.register('voc_2012_test_sem_seg', lambda: [])\n"
        "M.get('voc_2012_test_sem_seg').set(stuff_classes=['cat', 'dog'], ignore_label=7)\n"
        "import stseg.data.datasets as S\n"
        "assert S.dataset_vocabulary('voc_2012_test_sem_seg').names == ('cat', 'dog')\n"
        "assert S.dataset_ignore_labels('voc_2012_test_sem_seg') == (7,)\n"
        "assert 'context_59_test_sem_seg' in D\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
