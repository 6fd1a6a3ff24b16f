"""Self-training in a project that has a model, a loader and a config of its own."""

import shutil
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, SimpleTrainer
from torch import nn

from stseg.data import register_images
from stseg.modeling.encoders import SAMImageEncoder, create_sam, decoder_parts
from stseg.self_training import (
    DatasetLabeler,
    GuardSettings,
    Labeler,
    PromptSettings,
    SamBranch,
    SamPseudoLabelHook,
    Target,
    TrainsInRounds,
    build_dataset_labeler,
    take_snapshot,
)
from stseg.structures import Vocabulary
from tests.helpers.colour_net import COLOURS
from tests.helpers.nearest_colour import Batches, NearestColour, items
from tests.helpers.tiny_model import SAM_NAME, tiny_cfg, tiny_sam

from . import round_runs as runs

ROOT = Path(__file__).resolve().parents[2]
KEPT = "no gain: kept the starting weights"
#: Training makes the model surer, so that the guard keeps it and the end is not simply the start.
EASY = GuardSettings(min_change=0.0, min_score=-10.0)


class MyTrainer(TrainsInRounds, DefaultTrainer):
    """A trainer of Detectron2."""

    @classmethod
    def build_model(cls, cfg):
        return NearestColour()

    @classmethod
    def build_train_loader(cls, cfg):
        return ()


def sam_branch():
    torch.manual_seed(0)
    sam = tiny_sam()
    encoder = SAMImageEncoder(sam.image_encoder, input_size=64).eval()
    return SamBranch(encoder, *decoder_parts(sam, 64), prompts=PromptSettings(kinds=("mask",)))


@dataclass
class Adapt:
    """The project's own program: two rounds of two iterations."""

    images: Path
    output: Path
    rate: float = 0.3
    resume: bool = False
    with_sam: bool = False
    max_iter: int = 4
    is_late: bool = False

    def __call__(self):
        cfg = get_cfg()
        cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = "cpu", "", str(self.output)
        cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD = self.max_iter, 2
        cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.DATASETS.TEST = self.rate, 0, ()
        self.output.mkdir(exist_ok=True)
        trainer = MyTrainer(cfg)
        paths = sorted(self.images.glob("*.png"))
        records = tuple({"file_name": str(path)} for path in paths)
        target = Target("mine", records, Vocabulary.parse("; ".join(COLOURS)))
        sam = sam_branch() if self.with_sam else None
        labeler = Labeler(target.vocabulary.names, threshold=0.5, sam=sam)
        hook = SamPseudoLabelHook(
            model=trainer.model,
            labeler=DatasetLabeler(target=target, labeler=labeler, items=items),
            loader=Batches,
            folder=self.output / "self_training",
            rounds=2,
            round_iters=2,
            probe=partial(take_snapshot, target=target, items=items),
            limits=EASY,
            pictures=1,
        )
        if self.is_late:
            trainer.resume_or_load(resume=self.resume)
        trainer.register_hooks([hook])
        if not self.is_late:
            trainer.resume_or_load(resume=self.resume)
        trainer.train()


def run(adapt, log, *patches):
    return runs.finish_process(runs.start_process([], log, *patches, main=adapt))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return runs.make_images(tmp_path_factory.mktemp("foreign") / "data", count=4) / "images"


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(Adapt(images, folder), folder / "log") == 0, (folder / "log").read_text()
    return folder


def start_and_end(folder):
    names = "self_training/start.pth", "model_final.pth"
    return [runs.load(folder / name)["model"] for name in names]


def test_a_model_of_another_project_is_adapted_in_its_own_trainer(whole):
    content = runs.rounds(whole)
    assert content["verdict"] == "adapted"
    assert [(r["round"], r["harmful"]) for r in content["rounds"]] == [(1, False), (2, False)]
    assert content["rounds"][0]["labels"] != content["rounds"][1]["labels"]
    assert len(runs.labels(whole)) == 8
    start, end = start_and_end(whole)
    assert runs.differences(start, end)
    assert (whole / "self_training" / "round_02.html").is_file()


def test_a_round_that_harms_is_rolled_back(images, tmp_path):
    assert run(Adapt(images, tmp_path / "run", rate=1e3), tmp_path / "log") == 0
    content = runs.rounds(tmp_path / "run")
    assert content["verdict"] == KEPT
    assert [(r["round"], r["harmful"]) for r in content["rounds"]] == [(1, True), (1, True)]
    start, end = start_and_end(tmp_path / "run")
    assert not runs.differences(start, end)
    trained = runs.load(tmp_path / "run" / "model_0000003.pth")["model"]
    assert runs.differences(start, trained)
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"


def test_a_sam_of_its_own_refines(images, whole, tmp_path):
    adapt = Adapt(images, tmp_path / "run", with_sam=True)
    assert run(adapt, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    with_sam, without = runs.labels(tmp_path / "run"), runs.labels(whole)
    first = {k: v for k, v in with_sam.items() if k.startswith("round_01")}
    assert len(first) == 4 and not with_sam.keys() & without.keys()  # a store of its own
    assert not set(first.values()) <= set(without.values())


TRAINER = f"{__name__}:MyTrainer"
POINTS = {
    "labelling": (runs.kill_at, "stseg.self_training.store_records:ImageRecord", "encode", 6),
    "training": (runs.kill_at, TRAINER, "run_step", 4),
    "between checkpoint and second round": (runs.kill_at, TRAINER, "save_checkpoint", 1),
    "between checkpoint and verdict": (runs.kill_at, TRAINER, "save_checkpoint", 2),
}


# What Detectron2's own trainer cannot do stands for all in the default run.
KILLED = [pytest.param(p, marks=() if "between" in p else pytest.mark.slow) for p in POINTS]


@pytest.mark.parametrize("point", KILLED)
def test_a_run_killed_anywhere_ends_like_one_that_was_not(point, images, whole, tmp_path):
    adapt, log = Adapt(images, tmp_path / "run"), tmp_path / "log"
    assert run(adapt, log, POINTS[point]) == -signal.SIGKILL
    assert run(replace(adapt, resume=True), log) == 0, log.read_text()
    found = tmp_path / "run"
    assert runs.rounds(found) == runs.rounds(whole)
    assert runs.labels(found) == runs.labels(whole)
    files = [{p.name for p in (f / "self_training").iterdir()} for f in (found, whole)]
    assert files[0] == files[1]
    one, two = (runs.load(f / "model_final.pth") for f in (found, whole))
    assert not runs.differences(one["model"], two["model"])
    assert not runs.differences(one["trainer"]["_trainer"], two["trainer"]["_trainer"])


def test_a_trainer_that_ends_before_the_rounds_is_refused(images, tmp_path):
    assert run(Adapt(images, tmp_path / "run", max_iter=3), tmp_path / "log") == 1
    text = (tmp_path / "log").read_text()
    assert "max_iter: expected 2 rounds of 2 iterations, got 3" in text


def test_a_hook_that_comes_too_late_for_the_checkpoint_is_refused(images, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    adapt = Adapt(images, tmp_path / "run", resume=True, is_late=True)
    assert run(adapt, tmp_path / "log") == 1
    text = (tmp_path / "log").read_text()
    assert "Rounds: expected their state in the checkpoint" in text


class Plain(TrainsInRounds, SimpleTrainer):
    """The smallest trainer there is."""

    def after_step(self):
        super().after_step()
        if self.iter == 1:
            self.train_on(Noted(7))
        if self.iter == 3:
            self.stop()


class Noted:
    """Batches that hold a number; starting it draws a random one, as torch's loaders do."""

    def __init__(self, number):
        self.number = number

    def __iter__(self):
        torch.rand(1)
        return iter([self.number] * 10)


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.taken = nn.Parameter(torch.zeros(())), []

    def forward(self, batch):
        self.taken.append(batch)
        return {"loss": self.weight * 1.0}


def test_a_plain_trainer_changes_its_data_and_stops():
    model = Takes()
    trainer = Plain(model, Noted(3), torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(0)
    torch.rand(1)  # of the first loader
    expected = torch.rand(1)
    torch.manual_seed(0)
    trainer.train(0, 9)
    assert model.taken == [3, 3, 7, 7] and trainer.iter == 9
    assert torch.rand(1) == expected


# --- the same as by config ---


def test_labels_by_keyword_are_those_by_config(images, tmp_path, clean_catalog):
    vocabulary = Vocabulary.parse("; ".join(COLOURS))
    checkpoint = str(images.parents[1] / "sam.pth")
    cfg = tiny_cfg(SELF_TRAINING__REFINE__PROMPTS=["mask", "box"], INPUT__MIN_SIZE_TEST=0)
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "MODEL.SAM.CHECKPOINT", checkpoint])
    register_images("mine", str(images), "; ".join(COLOURS))
    records = tuple({"file_name": str(path)} for path in sorted(images.iterdir()))
    target = Target("mine", records, vocabulary, frozenset([3]))
    model = runs.RoundsTestNet(cfg).eval()
    by_config = build_dataset_labeler(cfg, target, model)
    sam = create_sam(SAM_NAME, checkpoint)
    prompts = PromptSettings(kinds=("mask", "box"))
    by_keyword = DatasetLabeler(
        target=target,
        labeler=Labeler(
            vocabulary.names,
            vetoed=[3],
            sam=SamBranch(model.sam_encoder, *decoder_parts(sam, 64), prompts=prompts),
        ),
        items=items,
        settings=by_config.settings,
    )
    stores = []
    for name, labeler in {"config": by_config, "keyword": by_keyword}.items():
        stores.append(labeler.store(tmp_path / name, 1, labeler.digest(model)))
        labeler.fill(stores[-1], model, [0])
    files = [[p for p in s.folder.rglob("*") if p.is_file()] for s in stores]
    one, two = (
        {p.relative_to(s.folder): p.read_bytes() for p in found}
        for s, found in zip(stores, files, strict=True)
    )
    assert stores[0].key.digest == stores[1].key.digest
    assert one == two and len(one) == 4 + 4 + 1 + 2
    assert stores[0].summary()["coverage"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.8},
        {"scoring": "mean"},
        {"vetoed": [1]},
        {"sam": "settings"},
        {"sam": "weights"},
        {"quantile": 0.5},
        {"max_side": 99},
        {"refine_file": True},
    ],
    ids=str,
)
def test_what_decides_labels_makes_another_store_without_being_told(images, tmp_path, change):
    records = ({"file_name": str(next(images.iterdir()))},)
    target = Target("mine", records, Vocabulary.parse("a; b"))

    def folder(threshold=0.9, scoring="max", vetoed=(), sam="", **more):
        branch = sam_branch()
        if sam == "settings":
            branch = replace(branch, purity=0.5)
        if sam == "weights":
            nn.init.zeros_(branch.mask_decoder.iou_token.weight)
        options = {"threshold": threshold, "scoring": scoring, "vetoed": vetoed, "sam": branch}
        one = Labeler(target.vocabulary.names, **options)
        labeler = DatasetLabeler(target=target, labeler=one, items=items, **more)
        return labeler.store(tmp_path, 1, "weights").folder

    assert folder() == folder() != folder(**change)


def test_only_what_builds_reads_a_config():
    readers = {"from_config.py", "target.py", "store_key.py"}
    readers |= {"sam_branch.py", "vision_language.py"}  # parts of what is built
    files = list((ROOT / "stseg" / "self_training").glob("*.py"))
    assert readers < {path.name for path in files}
    found = {path.name for path in files if "cfg" in path.read_text().lower()}
    assert found == readers
