"""A system that learns from captions, trained by the real command on pairs."""

import json
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage

from stseg.engine import train_command
from stseg.engine.hooks import BrokenPairs
from stseg.tools.prediction import prediction_command
from tests.helpers.caption_data import write_shards
from tests.helpers.ranks import Ranks
from tests.helpers.systems import CaptionFake, QueryFake
from tests.helpers.tiny_data import write_folder

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")
#: Of 40 pairs, 5 %.
BROKEN = (3, 29)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs train_net.py; returns OUTPUT_DIR and the names that each step has seen."""
    write_shards(tmp_path / "set", sizes=(17, 23), broken=BROKEN)

    def run(name, *flags, stop_at=None, system=CaptionFake, **more):
        keys = {
            "MODEL.META_ARCHITECTURE": system.__name__,
            "DATASETS.PAIRS": [["mine", str(tmp_path / "set")]],
            "DATASETS.TRAIN": ("mine",),
            "DATALOADER.NUM_WORKERS": 0,
            "SOLVER.IMS_PER_BATCH": 4,
            "SOLVER.MAX_ITER": 10,
            "SOLVER.CHECKPOINT_PERIOD": 3,
            "SOLVER.LOG_PERIOD": 1,
            "INPUT.CROP.TYPE": "resized",
            "INPUT.CROP.SIZE": [16, 16],
            "TEST.PICTURES": 0,
            "SEED": 1,
            **{key.replace("__", "."): value for key, value in more.items()},
        }
        seen, losses = [], system.losses

        def noted(self, features, batch):
            seen.append([item["file_name"] for item in batch.items])
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            return losses(self, features, batch)

        words = [str(part) for pair in keys.items() for part in pair]
        output = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(system, "losses", noted)
            argv = ["train_net.py", "--num-gpus", "0", *flags, *words, "OUTPUT_DIR", str(output)]
            patch.setattr("sys.argv", argv)
            if stop_at:
                with pytest.raises((KeyboardInterrupt, SystemExit)):
                    train_command()
            else:
                train_command()
        return output, seen

    return run


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{k: v for k, v in r.items() if "time" not in k and "eta" not in k} for r in rows]


def test_captions_with_broken_members_train_through_and_resume_to_the_pair(train):
    whole, seen = train("whole")
    names = [name for step in seen for name in step]
    broken = {name for name in names if int(name[-13:-4]) in BROKEN}
    assert len(names) == 40 and len(set(names)) >= 37 and not broken
    total = lines(whole)[-1]["broken_pairs"]
    assert total >= 2
    log = (whole / "log.txt").read_text()
    assert "40 pairs of image and caption" in log and "40 images to train on: mine" in log
    assert log.count("is broken, and another takes its place") == 2
    assert f"{total:.0f} pairs were broken, and others took their places" in log

    part, before = train("part", stop_at=6)
    assert (part / "last_checkpoint").read_text() == "model_0000002.pth"
    part, after = train("part", "--resume", DATALOADER__NUM_WORKERS=2)
    assert before[:5] + after[2:] == seen and after == seen[3:]
    assert lines(part) == lines(whole)
    one, two = (torch.load(f / "model_final.pth", weights_only=True) for f in (whole, part))
    assert all(torch.equal(v, two["model"][k]) for k, v in one["model"].items())
    assert "facts" not in one  # captions teach no class by name


def test_the_broken_pairs_of_all_processes_are_counted(monkeypatch, caplog):
    def work(rank):
        hook, broken = BrokenPairs(), SimpleNamespace(total=0)
        inner = SimpleNamespace(data_loader=SimpleNamespace(broken=broken, dataset=range(7)))
        hook.trainer = SimpleNamespace(_trainer=inner, storage=EventStorage())
        hook.load_state_dict({"total": 10, "pairs": 7})
        for broken.total in (rank, 2 + rank, 2 + rank):
            hook.after_step()
        return hook.state_dict()

    assert Ranks(2).run(monkeypatch, work) == [{"total": 15, "pairs": 7}] * 2
    assert not caplog.records


def test_resuming_on_other_data_is_told(train, tmp_path):
    train("run", stop_at=5)
    train("run", "--resume", SOLVER__MAX_ITER=4, DATASETS__MAX_IMAGES=30)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "--resume: the run began with 40 pairs and goes on with 30, in another order" in log


def test_captions_train_a_system_that_is_tested_on_label_maps(train, tmp_path):
    folder = ["labelled", *write_folder(tmp_path / "tiny", count=2)]
    more = {"DATASETS__FOLDERS": [folder], "DATASETS__TEST": ("labelled",), "SOLVER__MAX_ITER": 2}
    output, _ = train("tested", INPUT__MIN_SIZE_TEST=40, **more)
    assert "mIoU" in (output / "results.json").read_text()


def test_a_system_that_learns_from_labels_says_what_it_lacks(train):
    with pytest.raises(SystemExit, match="expected a 'vocabulary' in every input, got captions al"):
        train("wrong", system=QueryFake)


def test_pairs_are_not_adapted_to_tested_on_or_asked_about(train, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        prediction_command(["--data", f"asked=pairs:{tmp_path}/set"])
    assert "asked: expected one with classes, got pairs" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="DATASETS.TEST: expected a data set with classes"):
        train("tested", DATASETS__TEST=("mine",))
    with pytest.raises(SystemExit, match="mine: expected one with classes, got pairs"):
        train(
            "adapted",
            SELF_TRAINING__ENABLED=True,
            SELF_TRAINING__ROUNDS=1,
            SELF_TRAINING__REFINE__ENABLED=False,
            MODEL__LOSS__IGNORED="masked",
        )
