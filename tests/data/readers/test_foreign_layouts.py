"""What people have loads without code, and every door reads it alike."""

import logging
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.config import parse_flag
from stseg.data import dataset_label_coding, dataset_label_reader
from stseg.data.loaders import build_mapper, build_train_loader
from stseg.data.readers import register_data, register_folder
from stseg.evaluation import STSegSemSegEvaluator
from stseg.tools.verification import verify
from stseg.tools.verification.registered import find_registered
from tests.helpers.foreign_layouts import LAYOUTS, TRUTH, write_layout
from tests.helpers.tiny_data import write_folder

pytestmark = pytest.mark.usefixtures("clean_catalog")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_evaluation_and_verification_read_it_alike(tmp_path, data_cfg, layout):
    register_data(parse_flag(write_layout(tmp_path, layout)))
    records = DatasetCatalog.get("mine")
    assert [(dataset_label_reader("mine")(r["sem_seg_file_name"]) == t).all() for r, t in
            zip(records, TRUTH, strict=True)] == [True, True]  # fmt: skip
    data_cfg.INPUT.CROP.ENABLED, data_cfg.INPUT.RANDOM_FLIP = False, "none"
    mapped = build_mapper(data_cfg, True, ["mine"])(records[0])["sem_seg"].numpy()
    assert set(np.unique(mapped)) - {-1} == set(np.unique(TRUTH[0]))
    evaluator = STSegSemSegEvaluator("mine", distributed=False)
    evaluator.reset()
    evaluator.process(records, [{"sem_seg": t.astype(np.int64)} for t in TRUTH])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100
    report = verify(find_registered("mine"))
    assert (report.status, report.classes_seen, report.num_images) == ("good", 3, 2)


def test_what_names_and_lists_leave_out_is_counted(tmp_path, caplog):
    register_data(parse_flag(write_layout(tmp_path, "isaid")))
    with caplog.at_level(logging.INFO, "stseg"):
        DatasetCatalog.get("mine")
    assert "2 images; 2 other image files" in caplog.text and "instance_id_RGB" in caplog.text
    notes = {f.code: f.count for f in verify(find_registered("mine")).findings if f.is_note}
    assert notes == {"left-out": 2}


def test_register_folder_takes_the_same_keys(tmp_path):
    write_layout(tmp_path, "cwfid")
    places = [tmp_path / "cwfid" / part for part in ("images", "annotations", "names.txt")]
    keys = {"image_ending": "_image", "label_ending": "_annotation"}
    colours = {"#000000": "soil", (0, 255, 0): "crop", "#ff0000": 2}
    register_folder("mine", *places, colours=colours, **keys)
    label = dataset_label_reader("mine")(DatasetCatalog.get("mine")[1]["sem_seg_file_name"])
    assert (label == TRUTH[1]).all()
    register_folder("mine", *places, colours=colours, **keys)
    written = (
        "colours=#000000:soil,0 255 0:crop,#ff0000:2,image_ending=_image,label_ending=_annotation"
    )
    register_folder("again", places[0], f"{places[1]},{written}", places[2])
    assert dataset_label_coding("again") == dataset_label_coding("mine")
    with pytest.raises(ValueError, match="registered for other data"):
        register_folder("mine", *places, **keys)
    with pytest.raises(ValueError, match="register_folder, 'x'.*got 'label_end'. Did you mean"):
        register_folder("x", *places, label_end="_annotation")


def test_sets_of_two_codings_train_together(tmp_path, data_cfg):
    images, labels, names = write_folder(tmp_path / "plain", size=(16, 24))
    register_folder("plain", images, labels, names)
    for path in (tmp_path / "plain" / "labels").iterdir():
        target = tmp_path / "reduced" / path.name
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) + 1).save(target)
    register_folder("reduced", images, target.parent, names, reduce_zero_label=True)
    data_cfg.DATASETS.TRAIN = ("plain", "reduced")
    data_cfg.INPUT.CROP.ENABLED, data_cfg.INPUT.RANDOM_FLIP = False, "none"
    stream = iter(build_train_loader(data_cfg))
    seen = {}
    for item in (item for _ in range(6) for item in next(stream)):
        ids = tuple(np.unique(item["sem_seg"].numpy()))
        seen.setdefault(item["file_name"], set()).add(ids)
    assert seen and all(len(kinds) == 1 and max(map(max, kinds)) <= 3 for kinds in seen.values())


def test_other_programs_find_the_ignored_id_and_the_folders(tmp_path):
    register_data(parse_flag(write_layout(tmp_path, "isprs")))
    metadata = MetadataCatalog.get("mine")
    assert metadata.ignore_label == 255 and Path(metadata.sem_seg_root).name == "5_Labels_all"
