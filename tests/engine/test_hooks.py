import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.utils.events import EventStorage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from stseg.checkpoint.checkpointer import Checkpointer
from stseg.engine.hooks import AtEvaluation, KeepBest, trim_metrics
from stseg.engine.pictures import pick_samples


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("".join(json.dumps({"iteration": k}) + "\n" for k in range(4)) + '{"iter')
    return path


def test_lines_that_a_resumed_run_writes_again_are_dropped(metrics):
    assert trim_metrics(str(metrics), 2) == 1
    assert [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()] == [0, 1]


def test_a_new_run_moves_old_metrics_aside(metrics, tmp_path):
    assert trim_metrics(str(metrics), 0) == -1
    assert not metrics.exists()
    assert (tmp_path / "metrics.previous.json").exists()


def test_tensorboard_shows_scalars_and_the_same_pictures_at_each_evaluation(make_trainer, tmp_path):
    make_trainer("TEST.PICTURES", 2, "TEST.EVAL_PERIOD", 2).train()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert "total_loss" in events.Tags()["scalars"]
    assert "sem_seg/mIoU" in events.Tags()["scalars"]
    assert not [tag for tag in events.Tags()["scalars"] if "IoU-" in tag]
    assert set(events.Tags()["images"]) == {"predictions/0", "predictions/1"}
    shown = events.Images("predictions/0")
    assert [image.step for image in shown] == [1, 3]
    assert shown[0].width > 3 * shown[0].height  # photo, prediction and label, with legends


def test_pictures_do_not_touch_the_global_random_numbers(make_trainer):
    trainer = make_trainer("TEST.PICTURES", 1)
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    trainer.train()
    assert np.random.rand() == expected


def keep_best(folder, value, start_iter):
    """An evaluation of a run that began at `start_iter`; returns value and place of the best."""
    hook = KeepBest(1, Checkpointer(nn.Linear(1, 1), str(folder)), "sem_seg/mIoU", lambda: {})
    with EventStorage(start_iter) as storage:
        hook.trainer = SimpleNamespace(start_iter=start_iter, max_iter=9, storage=storage)
        hook.before_train()
        storage.put_scalar("sem_seg/mIoU", value)
        hook.act()
    assert (folder / "model_best.pth").is_file()
    record = json.loads((folder / "model_best.json").read_text())
    return record["value"], record["iteration"]


def test_a_resumed_run_remembers_the_best_and_a_new_one_does_not(tmp_path):
    assert keep_best(tmp_path, 99.0, start_iter=0) == (99.0, 0)
    assert keep_best(tmp_path, 50.0, start_iter=4) == (99.0, 0)
    assert keep_best(tmp_path, 99.0, start_iter=5) == (99.0, 0)  # the first of equals
    assert keep_best(tmp_path, 99.5, start_iter=6) == (99.5, 6)
    assert keep_best(tmp_path, 10.0, start_iter=0) == (10.0, 0)


@pytest.mark.parametrize(
    ("period", "start", "acts"),
    [(2, 0, [1, 3, 5]), (3, 0, [2, 5]), (4, 0, [3, 5]), (0, 0, [5]), (6, 0, [5]), (2, 5, [5])],
)
def test_what_follows_an_evaluation_is_done_once_after_each(period, start, acts):
    done = []

    class Acting(AtEvaluation):
        def act(self):
            done.append(min(self.trainer.iter, 5))

    hook = Acting(period)
    hook.trainer = SimpleNamespace(max_iter=6)
    for hook.trainer.iter in range(start, 6):
        hook.after_step()
    hook.after_train()
    assert done == acts


def test_after_a_failure_nothing_is_done():
    hook = AtEvaluation(1)
    hook.trainer = SimpleNamespace(max_iter=6, iter=3)
    hook.after_train()
    with pytest.raises(NotImplementedError):
        hook.after_step()


@pytest.mark.parametrize(("count", "numbers"), [(1, [0]), (3, [0, 3, 6]), (99, range(10))])
def test_pictures_are_of_images_spread_over_the_set(make_trainer, count, numbers):
    trainer = make_trainer()
    name = trainer.cfg.DATASETS.TEST[0]
    samples = pick_samples(trainer.build_test_loader(trainer.cfg, name), name, count)
    files = [Path(sample.item["file_name"]).stem for sample in samples]
    assert files == [f"{number:02d}" for number in numbers]
    assert all(sample.photo.shape[:2] == sample.label.shape for sample in samples)
