import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

from stseg.data.datasets import folders, register_folder
from stseg.evaluation import EVALUATOR_REGISTRY, STSegSemSegEvaluator, build_evaluator
from stseg.evaluation import sem_seg_evaluator as module
from tests.helpers.real_root import link_real_root
from tests.helpers.tiny_data import NAMES, write_folder

KEYS = ["mIoU", "fwIoU", "mACC", "pACC"]


@pytest.fixture
def tiny(tmp_path):
    register_folder("tiny", *write_folder(tmp_path / "tiny"))
    yield DatasetCatalog.get("tiny")
    DatasetCatalog.remove("tiny")
    MetadataCatalog.pop("tiny")
    folders._registered.pop("tiny")


def _ids(path):
    return np.array(Image.open(path)).astype(np.int64)


def _scores(records, num_classes, seed=0, right=0.0):
    """Random scores; a share `right` of the pixels gets its true class."""
    generator = torch.Generator().manual_seed(seed)
    outputs = []
    for record in records:
        label = torch.from_numpy(_ids(record["sem_seg_file_name"]))
        scores = torch.rand((num_classes, *label.shape), generator=generator)
        hit = (torch.rand(label.shape, generator=generator) < right) & (label < num_classes)
        scores.scatter_add_(0, label.clamp(max=num_classes - 1)[None], 2.0 * hit[None])
        outputs.append({"sem_seg": scores})
    return outputs


def _run(evaluator, records, outputs):
    evaluator.reset()
    for record, output in zip(records, outputs, strict=True):
        evaluator.process([record], [output])
    return evaluator.evaluate()["sem_seg"]


def test_figures_equal_detectron2(tiny):
    outputs = _scores(tiny, 4, right=0.5)
    theirs = SemSegEvaluator(
        "tiny", distributed=False, sem_seg_loading_fn=lambda path, dtype: _ids(path)
    )
    expected = _run(theirs, tiny, outputs)
    result = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    keys = KEYS + [f"{kind}-{name}" for kind in ("IoU", "ACC") for name in NAMES]
    assert {k: result[k] for k in keys} == pytest.approx({k: expected[k] for k in keys}, abs=1e-9)
    assert 30 < result["mIoU"] < 70 and result["mIoU_union"] == pytest.approx(result["mIoU"])


@pytest.mark.parametrize(
    "name",
    ["coco_2017_test_stuff_all_sem_seg", "context_459_test_sem_seg"],
)
def test_figures_equal_detectron2_on_real_labels(name, tmp_path, shared_dir, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(link_real_root(tmp_path, shared_dir)))
    records = DatasetCatalog.get(name)[:2]
    outputs = _scores(records, len(MetadataCatalog.get(name).vocabulary), right=0.7)
    theirs = SemSegEvaluator(
        name, distributed=False, sem_seg_loading_fn=lambda path, dtype: _ids(path)
    )
    theirs._compute_boundary_iou = False  # slow, and not ours
    monkeypatch.setattr(theirs, "encode_json_sem_seg", lambda *_: [])
    expected = _run(theirs, records, outputs)
    result = _run(STSegSemSegEvaluator(name), records, outputs)
    assert {k: result[k] for k in KEYS} == pytest.approx({k: expected[k] for k in KEYS}, abs=1e-9)
    assert result["mIoU"] > result["mIoU_union"] > 0


def test_background_predictions_are_folded(tmp_path, shared_dir, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(link_real_root(tmp_path, shared_dir)))
    name = "voc_2012_test_background_sem_seg"
    records = DatasetCatalog.get(name)
    outputs = []
    for record in records:
        label = torch.from_numpy(_ids(record["sem_seg_file_name"]))
        # Background pixels get one of the 39 names that all mean background.
        answer = torch.where(label == 20, 20 + torch.arange(label.shape[1]) % 39, label)
        one_hot = torch.nn.functional.one_hot(answer.clamp(max=58), 59)
        outputs.append({"sem_seg": one_hot.permute(2, 0, 1).float()})
    result = _run(build_evaluator(None, name), records, outputs)
    assert result["mIoU"] == result["mIoU_union"] == result["pACC"] == 100.0
    assert result["IoU-background"] == 100.0


def test_an_image_counts_once_however_often_it_comes(tiny):
    outputs = _scores(tiny, 4)
    evaluator = STSegSemSegEvaluator("tiny")
    assert _run(evaluator, tiny * 2, outputs * 2) == _run(evaluator, tiny, outputs)


def test_processes_are_summed_and_repeated_images_dropped(tiny, monkeypatch):
    outputs = _scores(tiny, 4)
    whole = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    shares = []
    for part in (slice(0, 4), slice(3, 6)):  # image 3 came to both
        evaluator = STSegSemSegEvaluator("tiny")
        evaluator.process(tiny[part], outputs[part])
        shares.append(evaluator)
    listed = [[record["file_name"] for record in tiny[part]] for part in (slice(0, 4), slice(3, 6))]
    monkeypatch.setattr(module.comm, "all_gather", lambda _: listed)
    totals = []
    for rank in (1, 0):
        monkeypatch.setattr(module.comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(module.comm, "is_main_process", lambda rank=rank: rank == 0)
        monkeypatch.setattr(module.comm, "gather", lambda part: totals.append(part) or totals)
        result = shares[rank].evaluate()
        assert (result is None) == (rank == 1)
    assert result["sem_seg"] == whole
    assert [len(score.images) for score, _, _ in totals] == [2, 4]


def test_seen_and_unseen_classes_are_reported_apart(tiny):
    outputs = _scores(tiny, 4, right=0.3)
    vocabulary = MetadataCatalog.get("tiny").vocabulary
    marked = vocabulary.with_seen(["sky", "car"])
    result = _run(STSegSemSegEvaluator("tiny", vocabulary=marked), tiny, outputs)
    iou = [result[f"IoU-{name}"] for name in NAMES]
    assert result["seen mIoU"] == pytest.approx((iou[0] + iou[3]) / 2)
    assert result["unseen mIoU"] == pytest.approx((iou[1] + iou[2]) / 2)
    both = result["seen mIoU"], result["unseen mIoU"]
    assert result["harmonic mIoU"] == pytest.approx(2 * both[0] * both[1] / sum(both))
    every = replace(vocabulary, seen=(True,) * 4)
    assert "seen mIoU" not in _run(STSegSemSegEvaluator("tiny", vocabulary=every), tiny, outputs)


def test_results_are_written_as_strict_json(tiny, tmp_path):
    label = np.zeros((40, 56), dtype=np.uint8)
    for record in tiny:
        Image.fromarray(label).save(record["sem_seg_file_name"])
    evaluator = build_evaluator(None, "tiny", str(tmp_path / "out"))
    result = _run(evaluator, tiny, _scores(tiny, 4))
    text = (tmp_path / "out" / "sem_seg_evaluation.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    assert content["IoU-road"] is None and np.isnan(result["IoU-road"])
    assert content["mIoU"] == result["mIoU"]


def test_scores_that_do_not_fit_are_named(tiny):
    evaluator = STSegSemSegEvaluator("tiny")
    with pytest.raises(ValueError, match=r"scene0.*scores of 4 classes \(tiny\), got 5"):
        evaluator.process(tiny[:1], _scores(tiny[:1], 5))
    with pytest.raises(ValueError, match=r"scene0.*one size, got \(40, 50\) and \(40, 56\)"):
        evaluator.process(tiny[:1], [{"sem_seg": torch.zeros(4, 40, 50)}])
    with pytest.raises(ValueError, match="expected a label map, got none"):
        evaluator.process([{"file_name": "a.jpg"}], [{"sem_seg": torch.zeros(4, 2, 2)}])


def test_the_evaluator_is_chosen_by_metadata(tiny):
    assert "sem_seg" in EVALUATOR_REGISTRY and "sem_seg_background" in EVALUATOR_REGISTRY
    assert not build_evaluator(None, "tiny").fold_background
    assert build_evaluator(None, "voc_2012_test_background_sem_seg").fold_background
    del MetadataCatalog.get("tiny").evaluator_type
    MetadataCatalog.get("tiny").evaluator_type = "panoptic"
    with pytest.raises(ValueError, match="evaluator_type.*sem_seg_background, got 'panoptic'"):
        build_evaluator(None, "tiny")
    with pytest.raises(ValueError, match="DATASETS.TEST: expected a registered data set"):
        build_evaluator(None, "nothing")
