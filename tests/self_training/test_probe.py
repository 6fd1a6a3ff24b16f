"""The guard's own figures, by number."""

from functools import partial

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from torch import nn

from stseg.data.datasets import dataset_vocabulary
from stseg.data.readers import register_folder
from stseg.self_training import probe
from stseg.self_training.from_config import build_dataset_labeler, source_miou
from stseg.self_training.probe import entropy_and_shares, take_snapshot
from stseg.self_training.target import Target, drawn
from tests.helpers.colour_net import COLOURS, ColourTestNet, make_cfg
from tests.helpers.tiny_data import write_pair

NAMES = tuple(COLOURS)
SIZE = (8, 10)


class Bands(nn.Module):
    """The first `width` columns are of the first class, whatever the image shows."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, batch):
        first = torch.arange(SIZE[1]).expand(SIZE) < self.width
        scores = torch.stack([first, ~first, *[torch.zeros(SIZE)] * (len(NAMES) - 2)])
        return [{"sem_seg": 0.5 * scores.float()} for _ in batch]


@pytest.fixture
def register(tmp_path, clean_catalog):
    """Registers label maps as pictures of their colours, and with them or other labels."""

    def make(name, shown, labelled=None):
        (tmp_path / name).mkdir()
        for k, label in enumerate(shown):
            image = np.array(list(COLOURS.values()), np.uint8)[label]
            write_pair(tmp_path / name, f"{k}", (shown if labelled is None else labelled)[k], image)
        (tmp_path / name / "names.txt").write_text("\n".join(NAMES))
        register_folder(name, *(tmp_path / name / part for part in ("images", "labels")),
                        tmp_path / name / "names.txt")  # fmt: skip
        return name

    return make


def maps(count):
    return np.random.default_rng(0).integers(0, len(NAMES), (count, *SIZE)).astype(np.uint8)


def snapshot(name, model, **changes):
    cfg = make_cfg()
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SELF_TRAINING.REFINE.ENABLED = False
    for key, value in changes.items():
        cfg.merge_from_list(["SELF_TRAINING." + key.replace("__", "."), value])
    records = tuple({"file_name": r["file_name"]} for r in DatasetCatalog.get(name))
    target = Target(name, records, dataset_vocabulary(name))
    return take_snapshot(
        model,
        target=target,
        items=build_dataset_labeler(cfg, target, model).items,
        images=cfg.SELF_TRAINING.GUARD.IMAGES,
        source_miou=partial(source_miou, cfg),
    )


def test_a_model_that_mirrors_with_its_picture_is_stable(register):
    found = snapshot(register("target", maps(3)), ColourTestNet(make_cfg()))
    assert found.stability.tolist() == [1.0] * 3
    assert (np.stack(found.labels) == maps(3)).all()
    assert all((confidence == 1).all() for confidence in found.confidence)


@pytest.mark.parametrize(("width", "stability"), [(3, 0.4), (5, 0.0), (10, 1.0)])
def test_stability_is_the_share_of_pixels_that_keep_their_class_mirrored(
    register, width, stability
):
    found = snapshot(register("target", maps(2)), Bands(width))
    assert found.stability.tolist() == pytest.approx([stability] * 2)
    assert all((confidence == 0.5).all() for confidence in found.confidence)
    assert found.source_miou is None


def test_a_snapshot_leaves_mode_and_random_numbers_as_they_were(register):
    model = ColourTestNet(make_cfg()).train()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    snapshot(register("target", maps(1)), model)
    assert model.training and torch.rand(1) == expected


@pytest.mark.parametrize("classes", [2, 3, 150])
def test_entropy_is_1_where_all_classes_are_alike_and_0_where_one_is_sure(classes):
    assert entropy_and_shares(torch.full((classes, 4, 5), 0.3))[0] == pytest.approx(1.0, abs=1e-6)
    sure = torch.zeros(classes, 4, 5)
    sure[1] = 1.0
    assert entropy_and_shares(sure)[0] == pytest.approx(0.0, abs=1e-5)
    sure[:, :, 0] = 0.5  # one column of five
    assert entropy_and_shares(sure)[0] == pytest.approx(0.2, abs=1e-5)
    assert entropy_and_shares(torch.full((1, 4, 5), 0.3))[0] == 0.0


def test_entropy_is_that_of_the_softmax_over_logits():
    odds = torch.tensor([4.0, 1.0, 1.0])  # shares of 4, 1 and 1 sixths
    shares = np.array([4, 1, 1]) / 6
    expected = -(shares * np.log(shares)).sum() / np.log(3)
    probs = (odds / (1 + odds))[:, None, None].expand(3, 2, 2)
    assert entropy_and_shares(probs)[0] == pytest.approx(expected, abs=1e-6)


def test_class_shares_are_those_of_the_softmax_and_sum_to_1():
    odds = torch.tensor([4.0, 1.0, 1.0])
    probs = (odds / (1 + odds))[:, None, None].expand(3, 2, 2)
    shares = entropy_and_shares(probs)[1]
    assert shares.tolist() == pytest.approx([4 / 6, 1 / 6, 1 / 6], abs=1e-5)


def test_images_are_drawn_and_source_figures_are_a_mean_over_the_sets(register):
    shown = np.zeros((4, *SIZE), np.uint8)
    half = shown.copy()
    half[:, :, 5:] = 1
    target = register("target", maps(6))
    changes = {"SOURCE__DATASETS": (register("good", shown), register("half", shown, half))}
    found = snapshot(target, ColourTestNet(make_cfg()), GUARD__IMAGES=3, **changes)
    chosen = drawn(3, 6, seed=0)
    assert found.images == tuple(DatasetCatalog.get(target)[k]["file_name"] for k in chosen)
    # Of the second set class 0 has an IoU of 1/2 and class 1 of 0.
    assert found.source_miou == pytest.approx((100 + 25) / 2)


def test_processes_share_the_images_out(register, monkeypatch):
    model, target = ColourTestNet(make_cfg()), register("target", maps(5))
    source = {"SOURCE__DATASETS": (register("source", maps(5)[:, ::-1], maps(5)),)}
    whole = snapshot(target, model, **source)
    assert whole.images == tuple(r["file_name"] for r in DatasetCatalog.get(target))
    monkeypatch.setattr(probe.comm, "get_world_size", lambda: 2)
    given = []

    def keep(value):
        given.append(value)
        return [value]

    monkeypatch.setattr(probe.comm, "all_gather", keep)
    for rank in range(2):
        monkeypatch.setattr(probe.comm, "get_rank", lambda rank=rank: rank)
        snapshot(target, model, **source)
    answers, counts = given[::2], given[1::2]
    assert [len(part) for part in answers] == [3, 2]
    # Each process gets what all gave.
    gathered = iter([answers, counts])
    monkeypatch.setattr(probe.comm, "all_gather", lambda value: next(gathered))
    joined = snapshot(target, model, **source)
    assert joined.images == whole.images and (joined.entropy == whole.entropy).all()
    assert all((a == b).all() for a, b in zip(joined.labels, whole.labels, strict=True))
    assert joined.source_miou == pytest.approx(whole.source_miou)
