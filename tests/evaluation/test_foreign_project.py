"""A Detectron2 project that knows nothing of this one but an import."""

import inspect

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import SemSegEvaluator as Detectron2Evaluator
from PIL import Image

from stseg.evaluation import EVALUATOR_REGISTRY, SemSegEvaluator, build_evaluator, read_result
from tests.helpers.tiny_data import write_folder

# Commas and a name that is there twice are nothing to Detectron2, nor is an ignored id among ids.
NAMES = ["sky", "road, street", "tree", "other", "other"]
IGNORED = 3


@pytest.fixture
def folder(tmp_path):
    """Records as other projects make them; some pixels answered wrongly, one class never there."""
    write_folder(tmp_path, count=4)
    records = []
    for path in sorted((tmp_path / "images").iterdir()):
        label = tmp_path / "labels" / path.name
        records.append(
            {"file_name": str(path), "sem_seg_file_name": str(label), "image_id": path.stem}
        )
    DatasetCatalog.register("foreign_val", lambda: records)
    MetadataCatalog.get("foreign_val").set(
        stuff_classes=NAMES, ignore_label=IGNORED, evaluator_type="sem_seg"
    )
    yield tmp_path
    DatasetCatalog.remove("foreign_val")
    MetadataCatalog.pop("foreign_val")


def model(inputs):
    """Answers are the truth but for every fifth column."""
    outputs = []
    for item in inputs:
        stem = item["image_id"]
        root = item["file_name"].rsplit("/images/", 1)[0]
        ids = torch.from_numpy(np.array(Image.open(f"{root}/labels/{stem}.png"))).long()
        ids[:, ::5] = (ids[:, ::5] + 1) % len(NAMES)
        one_hot = torch.nn.functional.one_hot(ids, len(NAMES)).permute(2, 0, 1)
        outputs.append({"sem_seg": one_hot.float()})
    return outputs


class ForeignTrainer(DefaultTrainer):
    """A trainer of another project, with its own loader: no label files in its batches."""

    evaluator = SemSegEvaluator

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        keys = ("file_name", "image_id")
        return [[{k: record[k] for k in keys}] for record in DatasetCatalog.get(dataset_name)]

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        return cls.evaluator(dataset_name, distributed=True, output_dir=cfg.OUTPUT_DIR)


def _tested(trainer, folder):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("foreign_val",)
    cfg.OUTPUT_DIR = str(folder / "out")
    return trainer.test(cfg, model)["sem_seg"]


def test_a_foreign_trainer_switches_by_one_import(folder):
    result = _tested(ForeignTrainer, folder)

    class Before(ForeignTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return Detectron2Evaluator(
                dataset_name,
                output_dir=cfg.OUTPUT_DIR,
                sem_seg_loading_fn=lambda path, dtype: np.array(Image.open(path)).astype(dtype),
            )

    expected = _tested(Before, folder)
    keys = [key for key in expected if "oundary" not in key and not key.startswith("min(")]
    assert {"mIoU", "fwIoU", "mACC", "pACC", "IoU-road, street", "ACC-sky"} < set(keys)
    for key in keys:
        assert result[key] == pytest.approx(expected[key], abs=1e-9, nan_ok=True), key
    assert 20 < result["mIoU_union"] < result["mIoU"] < 90
    saved = read_result(folder / "out" / "sem_seg_result.json")
    assert [row["name"] for row in saved.images] == [f"scene{i}" for i in range(4)]
    assert saved.names == NAMES and saved.protocol.ignore == (IGNORED,)


def test_a_foreign_trainer_dispatches_on_its_own_evaluator_type(folder):
    @EVALUATOR_REGISTRY.register()
    def foreign_type(cfg, dataset_name, output_dir):
        return SemSegEvaluator(dataset_name, output_dir=output_dir, boundary=True)

    del MetadataCatalog.get("foreign_val").evaluator_type
    MetadataCatalog.get("foreign_val").evaluator_type = "foreign_type"

    class Dispatching(ForeignTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return build_evaluator(cfg, dataset_name)

    try:
        result = _tested(Dispatching, folder)
    finally:
        EVALUATOR_REGISTRY._obj_map.pop("foreign_type")
    assert 0 < result["boundary_mIoU_gt"] < 100 and "BoundaryIoU-tree" in result
    assert result == pytest.approx(result | _tested(ForeignTrainer, folder), nan_ok=True)


def test_every_argument_of_detectron2_is_taken(folder):
    theirs = inspect.signature(Detectron2Evaluator).parameters
    ours = inspect.signature(SemSegEvaluator).parameters
    shared = [name for name in ours if name in theirs]
    assert set(shared) == set(theirs) and shared[:3] == list(theirs)[:3]
    assert [ours[name].kind for name in theirs] == [p.kind for p in theirs.values()]
    assert ours["distributed"].default is True and ours["output_dir"].default is None


def test_a_loading_function_and_an_ignored_id_are_used(folder):
    def shifted(path, dtype):  # ADE20K's raw files: 0 is none
        return np.array(Image.open(path)).astype(dtype) - 1

    evaluator = SemSegEvaluator(
        "foreign_val", False, sem_seg_loading_fn=shifted, num_classes=5, ignore_label=-1
    )
    item = DatasetCatalog.get("foreign_val")[0]
    ids = shifted(item["sem_seg_file_name"], int)
    evaluator.process([item], [{"sem_seg": np.maximum(ids, 0)}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100.0
    assert evaluator.confusion().counts.sum() == (ids >= 0).sum() < ids.size


def test_what_detectron2_passes_over_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="num_classes: expected 5 .*foreign_val, got 4"):
        SemSegEvaluator("foreign_val", num_classes=4)
    item = DatasetCatalog.get("foreign_val")[0]
    loaded = SemSegEvaluator(
        "foreign_val", ignore_label=255, sem_seg_loading_fn=lambda path, dtype: np.full((2, 2), 9)
    )
    with pytest.raises(ValueError, match=r"scene0.png: expected ids 0 to 4 or .*255, got 9"):
        loaded.process([item], [{"sem_seg": np.zeros((2, 2), int)}])
    with pytest.raises(ValueError, match=r"scene0.*prediction ids in \[0, 4\], got 7"):
        SemSegEvaluator("foreign_val").process([item], [{"sem_seg": np.full((40, 56), 7)}])
