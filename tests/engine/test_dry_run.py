import json
import mmap
import re

import pytest
from detectron2.data import DatasetCatalog

from stseg.config import setup_cfg
from stseg.data.readers.folders import register_from_cfg
from stseg.engine import dry_run as dry_run_module
from stseg.engine.arguments import parse_args
from stseg.engine.dry_run import Phases, check_sets, make_dry, measured
from stseg.utils import phase
from tests.helpers import tiny_model
from tests.helpers.tiny_data import write_folder

from . import fakes

TINY = {
    "MODEL.META_ARCHITECTURE": "STSeg",
    "MODEL.CLIP.NAME": tiny_model.CLIP_NAME,
    "MODEL.CLIP.PRETRAINED": "random",
    "MODEL.TEXT.CACHE_DIR": "",
    "MODEL.SAM.NAME": tiny_model.SAM_NAME,
    "MODEL.SAM.CHECKPOINT": "random",
    "MODEL.WEIGHTS": "random",
    "MODEL.SAM.INPUT_SIZE": 64,
    "MODEL.STSEG.IMAGE_SIZE": [64, 64],
    "MODEL.STSEG.DEA.NUM_HEADS": 4,
    "MODEL.SEM_SEG_HEAD.HIDDEN_DIM": 32,
    "MODEL.SEM_SEG_HEAD.DECODER_DIMS": [32, 16, 16],
    "MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS": [8, 4, 4],
    "INPUT.CROP.SIZE": [64, 64],
    "INPUT.MIN_SIZE_TRAIN": (64,),
    "INPUT.MIN_SIZE_TEST": 64,
    "SOLVER.LR_MULTIPLIERS": [["image_encoder", 0.01]],
    "SOLVER.MAX_ITER": 1000,
}
ST = {
    "SELF_TRAINING.ENABLED": True,
    "SELF_TRAINING.ROUNDS": 3,
    "MODEL.LOSS.IGNORED": "masked",
}
STAGE_1 = ["build the model", "list images", "embed texts", "training step", "checkpoint"]
STAGE_1 += ["evaluation"]
STAGE_2 = [*STAGE_1, "build SAM's decoder", "pseudo-labels", "guard", "page", "verdict"]
STAGE_2 += ["image digests", "judge"]


@pytest.fixture(scope="module")
def tiny_entry(tmp_path_factory):
    tiny_model.register(tmp_path_factory.mktemp("models"))
    return ["dry_run_tiny", *write_folder(tmp_path_factory.mktemp("data"), size=(48, 64))]


@pytest.fixture
def dry_run(tiny_entry, tmp_path, caplog, monkeypatch):
    """Runs train_net --dry-run 2; returns calls by phase, as the table in the log tells them."""

    def run(**more):
        # Detectron2 keeps a logger's lines from its parents.
        monkeypatch.setattr(dry_run_module.logger, "handlers", [caplog.handler])
        made = [part for pair in {**TINY, **more}.items() for part in pair]
        opts = fakes.make_opts(tiny_entry, tmp_path, *made)
        fakes.main(parse_args(["--num-gpus", "0", "--dry-run", "2", *opts]))
        table = next(r.getMessage() for r in caplog.records if r.msg.startswith("Phases"))
        lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[3:]]
        return {cells[0]: int(cells[1]) for cells in lines}

    return run


def test_stage_1_goes_through_every_phase(dry_run, tmp_path):
    calls = dry_run()
    assert set(calls) == {*STAGE_1, "the rest", "in all"}
    assert calls["training step"] == 2 and calls["evaluation"] == 1
    assert "Start inference on 2 batches" in (tmp_path / "dry_run" / "log.txt").read_text()
    assert (tmp_path / "dry_run" / "model_final.pth").is_file()


def test_stage_2_goes_through_two_rounds_to_a_verdict(dry_run, tmp_path):
    calls = dry_run(**ST)
    # The guard judges two steps of random weights: some machines' arithmetic is rolled back.
    assert set(calls) - {"roll back"} == {*STAGE_2, "the rest", "in all"}
    assert calls["training step"] == calls["pseudo-labels"] == 2
    assert calls["guard"] == 3 and calls["verdict"] == 1
    folder = tmp_path / "dry_run" / "self_training"
    assert (folder / "round_02.html").is_file()
    assert len(json.loads((folder / "rounds.json").read_text())["rounds"]) == 2


def test_phases_are_watched_inside_only_even_after_a_failure():
    with pytest.raises(KeyError), measured() as seen:
        with phase("inside"):
            pass
        raise KeyError
    with phase("outside"):
        pass
    assert set(seen.rows) == {"the rest", "inside"}


def test_an_inner_phase_is_not_counted_twice():
    clock = Phases()
    with clock.measure("outer"):
        with clock.measure("inner"):
            with mmap.mmap(-1, 200 * 2**20) as spent:  # fresh pages, each of them touched
                spent[::4096] = bytes(len(spent) // 4096)
    outer, inner = clock.rows["outer"], clock.rows["inner"]
    clock.to_text()
    total = sum(row.seconds for row in clock.rows.values())
    assert outer.seconds + inner.seconds <= total
    assert outer.seconds < inner.seconds
    assert inner.memory - outer.memory > 0.15  # the peak is the inner phase's own


def test_all_missing_sets_are_named_at_once_with_those_that_are_there(tiny_entry):
    opts = ["DATASETS.FOLDERS", [tiny_entry], "DATASETS.TRAIN", (tiny_entry[0],)]
    missing = ["ade20k_150_test_sem_seg", "voc_2012_test_sem_seg"]
    cfg = setup_cfg(opts=[*opts, "DATASETS.TEST", (missing[0], tiny_entry[0], missing[1])])
    register_from_cfg(cfg)
    with pytest.raises(ValueError) as caught:
        check_sets(cfg)
    for part in (*missing, "DATASETS.TEST \"('dry_run_tiny',)\""):
        assert part in str(caught.value)
    assert "coco" not in str(caught.value) and tiny_entry[0] in DatasetCatalog


def test_a_missing_training_set_does_not_matter_to_an_evaluation(tiny_entry):
    opts = ["DATASETS.FOLDERS", [tiny_entry], "DATASETS.TEST", (tiny_entry[0],)]
    cfg = setup_cfg(opts=[*opts, "DATASETS.TRAIN", ("voc_2012_train_images",)])
    register_from_cfg(cfg)
    check_sets(cfg, eval_only=True)
    with pytest.raises(ValueError, match="voc_2012_train_images"):
        check_sets(cfg)


def test_a_dry_run_has_an_image_for_every_process_and_micro_batch(tmp_path):
    cfg = setup_cfg(opts=["SOLVER.ACCUMULATE_STEPS", 4, "OUTPUT_DIR", str(tmp_path)])
    make_dry(cfg, images=3, processes=2)
    assert cfg.SOLVER.IMS_PER_BATCH == 2 * 4
    assert cfg.DATASETS.MAX_IMAGES == 3 and cfg.SOLVER.MAX_ITER == 2
    assert cfg.OUTPUT_DIR == str(tmp_path / "dry_run")
