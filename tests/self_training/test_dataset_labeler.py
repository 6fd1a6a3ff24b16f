"""Predictions that self-training labels and judges with."""

from dataclasses import replace

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn

from stseg.self_training.dataset_labeler import DatasetLabeler, predict, predict_labels
from stseg.self_training.target import Target
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import register, tiny_cfg


class Scores(nn.Module):
    """Answers with given scores, whatever it sees."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, inputs):
        return [{"sem_seg": self.scores} for _ in inputs]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("ask", [predict, predict_labels])
def test_probabilities_that_are_not_finite_are_refused_and_the_image_named(ask, value):
    scores = torch.rand(3, 4, 6)
    item = {
        "image": torch.zeros(3, 4, 6),
        "file_name": "photos/a.jpg",
        "vocabulary": Vocabulary.parse("a; b; c"),
        "height": 4,
        "width": 6,
    }
    ask(Scores(scores), item, 100)
    scores[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"photos/a.jpg: expected finite probabilities"):
        ask(Scores(scores), item, 100)


def leaves(node, path=""):
    """(node, key, path) of every value in a config."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield node, key, f"{path}{key}"


def changed(value):
    if isinstance(value, bool):
        return not value
    return [*value, 1] if isinstance(value, (list, tuple)) else value + type(value)(1)


#: What pseudo-labels depend on: whole sections, or keys.
DECIDING = (
    "SELF_TRAINING.GATE",
    "SELF_TRAINING.REFINE",
    "SELF_TRAINING.LABEL_MAX_SIZE",
    "MODEL.SAM",
    "MODEL.CLIP.NAME",
    "MODEL.CLIP.PRETRAINED",
    "MODEL.DTYPE",
    "MODEL.STSEG",
    "MODEL.SEM_SEG_HEAD",
    "MODEL.TEXT.DTYPE",
    "MODEL.TEXT.SYNONYMS",
    "TEST.SLIDING_WINDOW",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
)
HARMLESS = ("SELF_TRAINING.REFINE.BATCH_SIZE",)


@pytest.fixture
def folder_of(tmp_path):
    """The folder that a store would have for a config and a target."""
    register(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    base = Target(
        "target", ({"file_name": str(tmp_path / "a.jpg")},), Vocabulary.parse("a; b"), frozenset()
    )

    def folder(cfg, weights="weights", **changes):
        labeler = DatasetLabeler(cfg, replace(base, **changes), nn.Linear(1, 1))
        return labeler.store(tmp_path, 1, weights).folder

    return folder


def test_every_key_that_labels_depend_on_changed_alone_makes_another_store(folder_of):
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False)
    folders = {"": folder_of(cfg)}
    for node, key, path in leaves(cfg):
        if path.startswith(DECIDING) and path not in HARMLESS:
            before = node[key]
            node[key] = changed(before) if path != "SELF_TRAINING.REFINE.ENABLED" else True
            folders[path] = folder_of(cfg)
            node[key] = before
    assert len(folders) > 40 and folder_of(cfg) == folders[""]
    assert len(set(folders.values())) == len(folders)


def test_weights_names_images_and_vetoes_make_another_store_and_speed_does_not(folder_of, tmp_path):
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False)
    (tmp_path / "b.jpg").write_bytes(b"another")
    folders = [
        folder_of(cfg),
        folder_of(cfg, weights="others"),
        folder_of(cfg, vocabulary=Vocabulary.parse("a; c")),
        folder_of(cfg, vocabulary=Vocabulary.parse("a; b, c")),
        folder_of(cfg, records=({"file_name": str(tmp_path / "b.jpg")},)),
        folder_of(cfg, vetoed=frozenset([0])),
        folder_of(cfg, vetoed=frozenset([1])),
        folder_of(cfg, vetoed=frozenset([0, 1])),
    ]
    assert len(set(folders)) == len(folders)
    cfg.SELF_TRAINING.REFINE.BATCH_SIZE = 4
    assert folder_of(cfg) == folders[0]
