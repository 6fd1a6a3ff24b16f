"""EBSeg adapts itself by the code that STSeg does: look, rounds, verdict."""

import json

import pytest
import torch

from stseg.modeling.encoders import SAMImageEncoder
from stseg.modeling.meta_arch.ebseg import EBSeg
from stseg.self_training import build_dataset_labeler
from stseg.self_training.target import Target
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import EBSEG_KEYS, tiny_ebseg_cfg

from . import round_runs as runs

COUNT = 4
KEYS = {
    **EBSEG_KEYS,
    "INPUT.CROP.SIZE": [48, 64],  # larger than the images: what is padded is unknown
    "MODEL.CLIP.PRETRAINED": "random",
    "SELF_TRAINING.GATE.THRESH": 0.0,
}
# Weights that know nothing cannot gain anything: what training does to them shall count as one.
EASY = {
    "SELF_TRAINING.GUARD.MAX_ENTROPY_RISE": 1.0,
    "SELF_TRAINING.GUARD.MAX_STABILITY_DROP": 1.0,
    "SELF_TRAINING.GUARD.MAX_DRIFT": 1.0,
    "SELF_TRAINING.GUARD.MIN_KEPT": 0.0,
    "SELF_TRAINING.GUARD.MIN_CHANGE": 0.0,
    "SELF_TRAINING.GUARD.MIN_SCORE": -100.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_images(tmp_path_factory.mktemp("rounds") / "data", count=COUNT)


def run(data, folder, changes=(), flags=()):
    argv = runs.make_argv(data, folder, {**KEYS, **dict(changes)}, flags)
    log = folder.with_suffix(".txt")
    assert runs.run_in_process(argv, log) == 0, log.read_text()
    return folder


def test_it_labels_trains_and_is_judged(data, tmp_path):
    known = tmp_path / "known.txt"
    known.write_text("red\nblue\n")
    folder = run(data, tmp_path / "run", {**EASY, "SELF_TRAINING.SOURCE_VOCABULARY": str(known)})
    assert len(runs.labels(folder)) == 2 * COUNT
    content = runs.rounds(folder)
    assert content["verdict"] == "adapted" and content["kept"] > 0
    assert [(r["round"], r["harmful"]) for r in content["rounds"]] == [(1, False), (2, False)]
    assert all(record["evidence"]["finite"] for record in content["rounds"])
    start = runs.load(folder / "self_training" / "start.pth")["model"]
    final = runs.load(folder / "model_final.pth")["model"]
    final = {name: final[name] for name in start}
    changed = {d.split("/")[1].split(".")[0] for d in runs.differences(start, final)}
    assert changed >= {"pixel_decoder", "mask_decoder", "map_fusion", "classifier", "sam_encoder"}
    losses = [line for line in runs.metrics(folder) if "total_loss" in line]
    assert losses and all(0 < line["loss_mask"] < float("inf") for line in losses)
    seen = json.loads((folder / "self_training" / "seen.json").read_text())
    assert [c["weight"] for c in seen["classes"]] == pytest.approx([0.3, 0.7, 0.3, 0.7])


def test_its_labels_can_be_looked_at_before(data, tmp_path):
    folder = run(data, tmp_path / "look", flags=["--preview", "2"])
    preview = folder / "self_training" / "preview"
    assert (preview / "round_01.html").read_text().count("<img") >= 6
    assert len(list(preview.glob("round_01-*/labels/*"))) == 2
    assert not list(folder.glob("*.pth"))


@pytest.mark.parametrize("refined", [True, False])
def test_masks_are_refined_by_a_sam_of_their_own(tmp_path, refined):
    """EBSeg's has no neck, and its positions train: nothing that is kept is of it."""
    cache = {"SELF_TRAINING__SAM_CACHE_DIR": str(tmp_path / "cache")}
    cfg = tiny_ebseg_cfg(SELF_TRAINING__REFINE__ENABLED=refined, **cache)
    model = EBSeg(cfg).eval()
    labeler = build_dataset_labeler(cfg, Target("target", (), Vocabulary.parse("a; b")), model)
    with labeler.cached(model):
        pass
    if refined:
        encoder = labeler.labeler.sam.encoder
        assert isinstance(encoder, SAMImageEncoder)
        assert encoder(torch.zeros(1, 3, 64, 64))["sam"].shape == (1, 16, 4, 4)
