from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog

from stseg.config import setup_cfg
from stseg.data.datasets import dataset_vocabulary
from stseg.engine import train_command
from stseg.engine.setup import check_data, check_names
from stseg.modeling.losses.criterion import SegmentationCriterion
from stseg.structures import IGNORE_LABEL

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").rglob("*.yaml"))


@pytest.fixture
def yaml_file(tmp_path):
    def write(text, name="run.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_defaults_are_the_recipe_of_sed():
    solver = setup_cfg().SOLVER
    assert (solver.BASE_LR, solver.WEIGHT_DECAY, solver.MAX_ITER) == (2e-4, 1e-4, 80000)
    assert (solver.IMS_PER_BATCH, solver.WARMUP_ITERS) == (4, 0)
    assert solver.CLIP_GRADIENTS.CLIP_VALUE == 0.01
    assert not solver.AMP.ENABLED


def test_the_file_overrides_its_base_and_the_command_line_overrides_both(yaml_file):
    yaml_file("SOLVER:\n  MAX_ITER: 5\n  BASE_LR: 1\n  IMS_PER_BATCH: 8\n", "base.yaml")
    path = yaml_file("_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 6\n  IMS_PER_BATCH: 2\n")
    cfg = setup_cfg(path, ["SOLVER.MAX_ITER", "7"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR) == (7, 2, 1.0)
    assert cfg.is_frozen()


def test_an_unknown_key_on_the_command_line_names_the_nearest():
    with pytest.raises(KeyError, match=r"SOLVER.MAX_ITERS: .*command line.*mean SOLVER.MAX_ITER\?"):
        setup_cfg(opts=["SOLVER.MAX_ITERS", "3"])


def test_an_unknown_key_in_a_file_names_file_and_nearest_key(yaml_file):
    path = yaml_file("SOLVER:\n  EMA:\n    DECAI: 0.9\n")
    with pytest.raises(KeyError, match=r"SOLVER.EMA.DECAI: .*run.yaml.*mean SOLVER.EMA.DECAY\?"):
        setup_cfg(path)


@pytest.mark.parametrize("value", ["many", "[1]", "2.5"])
def test_a_value_of_the_wrong_type_is_named(value):
    with pytest.raises(ValueError, match=r"SOLVER.MAX_ITER: expected int such as 80000, got"):
        setup_cfg(opts=["SOLVER.MAX_ITER", value])


def test_all_values_out_of_range_are_named_at_once():
    opts = ["SOLVER.EMA.DECAY", "1.5", "SOLVER.AMP.DTYPE", "fp8", "SOLVER.ACCUMULATE_STEPS", "0"]
    with pytest.raises(ValueError) as caught:
        setup_cfg(opts=opts)
    lines = str(caught.value).splitlines()
    assert "SOLVER.EMA.DECAY: expected a number in [0, 1), got 1.5." in lines
    assert "SOLVER.AMP.DTYPE: expected one of bf16, fp16, got 'fp8'." in lines
    assert len(lines) == 3


def test_a_missing_file_and_a_missing_base_are_named(yaml_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--config-file: .*nothing.yaml"):
        setup_cfg(tmp_path / "nothing.yaml")
    with pytest.raises(FileNotFoundError, match=r"run.yaml: .*_BASE_.*nothing.yaml"):
        setup_cfg(yaml_file("_BASE_: nothing.yaml\n"))


def test_a_file_that_is_not_yaml_is_named(yaml_file):
    with pytest.raises(ValueError, match=r"run.yaml: expected YAML"):
        setup_cfg(yaml_file("SOLVER: [1\n"))


def test_a_key_without_value_is_refused():
    with pytest.raises(ValueError, match="pairs of a key and a value"):
        setup_cfg(opts=["SOLVER.MAX_ITER"])


def test_without_a_gpu_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert setup_cfg(opts=["MODEL.DEVICE", "cuda"]).MODEL.DEVICE == "cpu"
    assert setup_cfg(device="cpu").MODEL.DEVICE == "cpu"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_loads_and_names_data_sets_that_exist(path):
    cfg = setup_cfg(path)
    assert path.read_text().startswith("# ")
    if path.stem in ("camvid", "camvid_photo", "camvid_unseen"):  # folders of the command line
        return
    assert set(cfg.DATASETS.TRAIN) | set(cfg.DATASETS.TEST) <= set(DatasetCatalog)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem.startswith("adapt_")], ids=str)
def test_stage_2_asks_for_the_names_it_is_evaluated_with(path):
    cfg = setup_cfg(path)
    st = cfg.SELF_TRAINING
    assert st.ENABLED and st.ROUNDS >= 1
    assert cfg.SOLVER.MAX_ITER == st.ROUNDS * st.ROUND_ITERS
    for train, test in zip(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, strict=False):
        asked, judged = (replace(dataset_vocabulary(x), seen=None) for x in (train, test))
        assert asked == judged  # marks may be those of SELF_TRAINING.SOURCE_VOCABULARY


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem.startswith("adapt_")], ids=str)
def test_stage_2_leaves_out_pixels_without_a_label(path):
    """A wholly unlabelled image teaches nothing; as negatives it would push every class down."""
    cfg = setup_cfg(path, device="cpu")
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    target = torch.full((1, 4, 4), IGNORE_LABEL)
    loss = SegmentationCriterion(cfg)([logits], target, seen=(True, True, False))
    sum(loss.values()).backward()
    assert sum(loss.values()) == 0 and not logits.grad.any()
    with pytest.raises(ValueError, match=r"MODEL.LOSS.IGNORED: expected 'masked'"):
        setup_cfg(path, ["MODEL.LOSS.IGNORED", "negative"])


def test_negatives_stay_where_labels_are_a_data_sets_own():
    assert setup_cfg(opts=["SELF_TRAINING.ENABLED", "True", "SELF_TRAINING.ROUNDS", "0"])
    own = setup_cfg(next(p for p in CONFIGS if p.stem == "stseg_convnextB_768"), device="cpu")
    assert own.MODEL.LOSS.IGNORED == "negative"


def test_adapting_without_images_tells_how_to_give_them():
    path = next(p for p in CONFIGS if p.stem == "adapt_folder")
    with pytest.raises(ValueError, match="--images: expected a folder .* Give --images DIR"):
        check_data(setup_cfg(path))


def test_crops_of_the_online_teacher_are_in_no_file():
    opts = ["SELF_TRAINING.ENABLED", True, "MODEL.LOSS.IGNORED", "masked"]
    online = ["SELF_TRAINING.ONLINE", True, "SELF_TRAINING.REFINE.IMAGE", "file"]
    with pytest.raises(ValueError, match=r"REFINE.IMAGE: expected 'model' with .*ONLINE.*'file'"):
        setup_cfg(opts=[*opts, *online])
    setup_cfg(opts=[*opts, *online, "SELF_TRAINING.REFINE.ENABLED", False])
    setup_cfg(opts=[*opts, *online[2:]])


@pytest.mark.parametrize(
    "key", ["DATASETS.TEST", "DATASETS.TRAIN", "SELF_TRAINING.SOURCE.DATASETS"]
)
def test_an_unknown_data_set_is_named_before_anything_is_built(key):
    cfg = setup_cfg(opts=[key, "('ade20k_150_test_sem_sg',)"])
    near = r"Did you mean ade20k_150_test_sem_seg\?"
    with pytest.raises(ValueError, match=rf"^{key}: expected a registered data set.* {near}"):
        check_names(cfg)
    if key != "DATASETS.TEST":
        check_names(cfg, is_trained_on=False)


def test_a_command_ends_at_an_unknown_data_set(tmp_path):
    opts = ["DATASETS.TEST", "('nope',)", "OUTPUT_DIR", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        train_command(["--eval-only", "--num-gpus", "0", *opts, "MODEL.WEIGHTS", "random"])
    assert "DATASETS.TEST: expected a registered data set, got 'nope'" in str(caught.value)
    assert not (tmp_path / "out").exists()
