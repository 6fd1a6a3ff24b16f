import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.utils import comm
from PIL import Image

from stseg.data.readers import folders, register_folder
from stseg.engine.arguments import parse_args
from stseg.engine.processes import launch
from stseg.evaluation import (
    EVALUATOR_REGISTRY,
    STSegSemSegEvaluator,
    build_evaluator,
    comparable,
    read_result,
)
from stseg.evaluation import evaluation_command as command_line
from stseg.evaluation import sem_seg_evaluator as module
from stseg.structures import Vocabulary
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
    # What a temperature is fitted on is counted alike.
    labels = [{"label_map": output["sem_seg"].argmax(dim=0)} for output in outputs]
    sure = [{**x, "confidence": torch.full(x["label_map"].shape, 0.75)} for x in labels]
    evaluator = build_evaluator(None, name)
    _run(evaluator, records, sure)
    found = evaluator.confidences()
    assert 0 < found.pixels.sum() == found.correct.sum()


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
    text = (tmp_path / "out" / "sem_seg_result.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)["results"]["tiny"]
    road = next(row for row in content["classes"] if row["name"] == "road")
    assert road["iou"] is None and np.isnan(result["IoU-road"])
    assert 100 * content["figures"]["mIoU_gt"] == result["mIoU"]


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


def test_ids_count_like_the_scores_they_come_from(tiny):
    outputs = _scores(tiny, 4, right=0.6)
    expected = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    ids = [{"sem_seg": output["sem_seg"].argmax(dim=0)} for output in outputs]
    assert _run(STSegSemSegEvaluator("tiny"), tiny, ids) == expected
    named = [{"label_map": output["sem_seg"].to(torch.int32)} for output in ids]
    assert _run(STSegSemSegEvaluator("tiny"), tiny, named) == expected
    arrays = [{"sem_seg": output["sem_seg"].numpy().astype(np.uint8)} for output in ids]
    assert _run(STSegSemSegEvaluator("tiny"), tiny, arrays) == expected
    arrays = [{"sem_seg": output["sem_seg"].numpy()} for output in outputs]
    assert _run(STSegSemSegEvaluator("tiny"), tiny, arrays) == expected


@pytest.mark.parametrize("wrong", [torch.zeros(40, 56), torch.zeros(40, 56).bool(), torch.ones(9)])
def test_what_is_neither_scores_nor_ids_is_refused(tiny, wrong):
    with pytest.raises(ValueError, match=r"scene0.*expected \"sem_seg\" of scores \(T, H, W\)"):
        STSegSemSegEvaluator("tiny").process(tiny[:1], [{"sem_seg": wrong}])


@pytest.mark.parametrize("classes", [slice(None), slice(2, 3)], ids=["all", "one"])
@pytest.mark.parametrize("as_array", [False, True])
def test_scores_that_are_not_numbers_are_refused_and_the_image_named(tiny, classes, as_array):
    output = _scores(tiny[:1], 4)[0]
    output["sem_seg"][classes, 5, 7] = float("nan")
    if as_array:
        output = {"sem_seg": output["sem_seg"].numpy()}
    with pytest.raises(FloatingPointError, match=r"scene0.*are numbers, got NaN at 1 of"):
        STSegSemSegEvaluator("tiny").process(tiny[:1], [output])


def test_a_confidence_that_is_not_a_number_is_refused_and_the_image_named(tiny):
    label = torch.zeros(40, 56, dtype=torch.int32)
    confidence = torch.full((40, 56), float("nan"))
    with pytest.raises(FloatingPointError, match=r"scene0.*got NaN at 2240 of 2240"):
        output = {"label_map": label, "confidence": confidence}
        STSegSemSegEvaluator("tiny").process(tiny[:1], [output])


def test_infinite_scores_are_scores(tiny):
    """A masked class has the logarithm of nothing."""
    output = _scores(tiny[:1], 4)[0]
    ids = output["sem_seg"].clone()
    output["sem_seg"][1] = -torch.inf
    ids[1] = -1
    expected = _run(STSegSemSegEvaluator("tiny"), tiny[:1], [{"sem_seg": ids}])
    found = _run(STSegSemSegEvaluator("tiny"), tiny[:1], [output])
    np.testing.assert_equal(dict(found), dict(expected))


def test_confidences_bring_calibration_and_risk(tiny, caplog):
    outputs = []
    for record in tiny:
        label = torch.from_numpy(_ids(record["sem_seg_file_name"]))
        wrong = torch.arange(label.shape[1]) % 4 == 0  # a quarter, and these know it
        answer = torch.where(wrong, (label + 1) % 4, label)
        outputs.append(
            {"sem_seg": answer, "confidence": torch.where(wrong, 0.5, 0.9).expand(label.shape)}
        )
    result = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    assert result["ECE"] == pytest.approx(25 * 0.5 + 75 * 0.1, abs=1e-4)
    assert 0 < result["AURC"] < 5 and result["pACC"] == 75
    outputs[2].pop("confidence")
    result = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    assert "ECE" not in result and "5 of 6 images came with confidences" in caplog.text
    assert "ECE" not in _run(STSegSemSegEvaluator("tiny"), tiny, _scores(tiny, 4))


def test_boundary_and_bootstrap_are_reported_where_asked_for(tiny, tmp_path):
    evaluator = STSegSemSegEvaluator("tiny", output_dir=tmp_path, boundary=True, bootstrap=50)
    result = _run(evaluator, tiny, _scores(tiny, 4, right=0.7))
    assert result["mIoU_low"] < result["mIoU"] < result["mIoU_high"]
    assert 0 < result["boundary_mIoU_gt"] < 100 and 0 < result["BoundaryIoU-sky"] < 100
    saved = read_result(tmp_path / "sem_seg_result.json")
    assert [100 * x for x in saved.bootstrap["intervals"]["mIoU_gt"]] == pytest.approx(
        [result["mIoU_low"], result["mIoU_high"]]
    )


def test_the_result_file_equals_that_of_the_command_line(tiny, tmp_path):
    outputs = _scores(tiny, 4, right=0.7)
    _run(STSegSemSegEvaluator("tiny", output_dir=tmp_path / "out"), tiny, outputs)
    (tmp_path / "pred").mkdir()
    for record, output in zip(tiny, outputs, strict=True):
        ids = output["sem_seg"].argmax(dim=0).numpy().astype(np.uint8)
        Image.fromarray(ids).save(tmp_path / "pred" / Path(record["sem_seg_file_name"]).name)
    root = tmp_path / "tiny"
    command = ["score", "--pred", tmp_path / "pred", "--gt", root / "labels"]
    command += ["--names", root / "names.json", "--output", tmp_path / "b.json"]
    assert command_line([str(word) for word in command]) == 0
    ours, theirs = (
        read_result(tmp_path / "out" / "sem_seg_result.json"),
        read_result(tmp_path / "b.json"),
    )
    assert comparable(ours, theirs) == []
    assert ours.figures == theirs.figures and ours.images == theirs.images
    assert ours.provenance["versions"]["torch"] and ours.protocol.data_set == "tiny"


def test_an_interrupted_evaluation_goes_on(tiny, tmp_path):
    outputs = _scores(tiny, 4, right=0.5)
    whole = _run(STSegSemSegEvaluator("tiny"), tiny, outputs)
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"weights")
    options = {"output_dir": tmp_path / "out", "save_every": 2, "resume": True, "weights": weights}
    killed = STSegSemSegEvaluator("tiny", **options)
    killed.reset()
    killed.process(tiny[:5], outputs[:5])  # saved after 2 and 4
    after = STSegSemSegEvaluator("tiny", **options)
    after.reset()
    names = [record["file_name"] for record in tiny]
    assert [after.is_counted(name) for name in names] == [True] * 4 + [False] * 2
    after.process(tiny[4:], outputs[4:])
    assert after.evaluate()["sem_seg"] == whole
    # What is done leaves nothing that a later evaluation, of other weights, could count.
    after.reset()
    assert not after.is_counted(names[0]) and not list((tmp_path / "out").glob("*.npz"))


def test_states_are_shared_out_among_fewer_processes(tiny, tmp_path, monkeypatch):
    outputs = _scores(tiny, 4)

    def as_process(rank, processes):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: processes)
        return STSegSemSegEvaluator("tiny", output_dir=tmp_path / "out", distributed=False)

    for rank in range(3):
        evaluator = as_process(rank, 3)
        evaluator.process(tiny[rank : rank + 1], outputs[rank : rank + 1])
        evaluator.save_state()
    names = [record["file_name"] for record in tiny[:3]]
    for rank, expected in ((0, [True, False, True]), (1, [False, True, False])):
        evaluator = as_process(rank, 2)
        evaluator.load_state()
        assert [evaluator.is_counted(name) for name in names] == expected


def test_a_state_of_another_protocol_is_refused(tiny, tmp_path, monkeypatch):
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"weights")
    options = {"output_dir": tmp_path / "out", "resume": True, "weights": weights}
    STSegSemSegEvaluator("tiny", **options).save_state()
    with pytest.raises(ValueError, match="sem_seg_state_0.npz: .*same protocol, got settings"):
        STSegSemSegEvaluator("tiny", **options, boundary=True).reset()
    weights.write_bytes(b"trained on")
    with pytest.raises(ValueError, match="sem_seg_state_0.npz: .*same protocol, got weights"):
        STSegSemSegEvaluator("tiny", **options).reset()
    weights.write_bytes(b"weights")
    with pytest.raises(ValueError, match="same protocol, got settings"):
        STSegSemSegEvaluator("tiny", **options, ignore_labels=[254]).reset()
    words = Vocabulary.parse("heaven; road; tree; car")
    with pytest.raises(ValueError, match="same protocol, got vocabulary"):
        STSegSemSegEvaluator("tiny", **options, vocabulary=words).reset()
    metadata = MetadataCatalog.get("tiny").__dict__
    with monkeypatch.context() as patch:
        patch.setitem(metadata, "stuff_classes", ["heaven", "road", "tree", "car"])
        with pytest.raises(ValueError, match="same protocol, got label names"):
            STSegSemSegEvaluator("tiny", **options).reset()
    with monkeypatch.context() as patch:
        patch.setitem(metadata, "label_ids", (1, 0, 2, 3))
        with pytest.raises(ValueError, match="same protocol, got label ids"):
            STSegSemSegEvaluator("tiny", **options).reset()
    STSegSemSegEvaluator("tiny", **options).reset()
    with pytest.raises(ValueError, match="output_dir: expected a folder"):
        STSegSemSegEvaluator("tiny", save_every=3)


def _in_a_process(args):
    """Each of two processes counts four of six images: two come twice. Rank 0 writes the result."""
    root, file = args.opts
    register_folder("tiny", f"{root}/images", f"{root}/labels", f"{root}/names.json")
    records = DatasetCatalog.get("tiny")
    rank = comm.get_rank()
    mine = [0, 2, 4, 1] if rank == 0 else [1, 3, 5, 0]
    evaluator = STSegSemSegEvaluator("tiny")
    outputs = _scores(records, 4, right=0.5)
    evaluator.process([records[i] for i in mine], [outputs[i] for i in mine])
    result = evaluator.evaluate()
    assert (result is None) == (rank == 1)
    if result:
        Path(file).write_text(json.dumps(result["sem_seg"]))


def test_two_processes_evaluate_as_one(tiny, tmp_path):
    flags = ["--num-gpus", "0", "--num-cpu-processes", "2"]
    file = tmp_path / "result.json"
    launch(_in_a_process, parse_args([*flags, str(tmp_path / "tiny"), str(file)]))
    whole = _run(STSegSemSegEvaluator("tiny"), tiny, _scores(tiny, 4, right=0.5))
    assert json.loads(file.read_text()) == whole


def test_near_names_get_credit_and_the_matrix_goes_into_the_result(tiny, tmp_path):
    near = np.eye(len(NAMES))
    near[0, 1] = near[1, 0] = 0.25
    evaluator = STSegSemSegEvaluator("tiny", similarity=near, output_dir=str(tmp_path))
    figures = _run(evaluator, tiny, _scores(tiny, len(NAMES)))
    assert figures["open_mIoU_gt"] > figures["mIoU"]
    stored = read_result(tmp_path / "sem_seg_result.json").similarity
    assert stored == {"true": [0, 1], "predicted": [1, 0], "credit": [0.25, 0.25]}
    with pytest.raises(ValueError, match="Similarity: expected shape"):
        STSegSemSegEvaluator("tiny", similarity=np.eye(2 + len(NAMES)))
