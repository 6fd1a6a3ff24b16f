"""What the log says of a round's labels."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.utils.events import EventStorage

from stseg.self_training.round_report import tell_labels, why_no_labels, why_nothing_passes
from stseg.self_training.survey import Survey

PASSING = {"0.9": 0.0, "0.8": 0.0, "0.7": 0.031, "0.6": 0.4, "0.5": 0.5, "0.4": 0.9}


def summary(coverage, accepted=1):
    classes = [{"images_accepted": accepted}, {"images_accepted": 0}]
    return {
        "images": 7,
        "coverage": coverage,
        "classes": classes,
        "passing": PASSING,
        "never_accepted": ["dog"],
        "disk_use": 10,
    }


@pytest.mark.parametrize(("coverage", "warned"), [(0.03, True), (0.5, False), (0.0, False)])
def test_next_to_no_labels_are_warned_of_with_what_would_pass(caplog, coverage, warned):
    store = SimpleNamespace(
        summary=lambda: summary(coverage), round_number=2, folder=Path("labels")
    )
    with EventStorage(0) as storage, caplog.at_level(logging.INFO):
        tell_labels(store, 0.9, None, storage)
        assert storage.latest()["self_training/coverage"] == (coverage, 0)
        assert storage.latest()["self_training/accepted_classes"] == (1, 0)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == warned
    if warned:
        assert "Round 2 has next to no labels: 3.00 % of the pixels" in warnings[0]
        assert "0.7: 3.1%, 0.6: 40.0%, 0.5: 50.0%." in warnings[0]


def test_no_labels_are_told_by_their_cause():
    told = why_no_labels(summary(0.0, accepted=0), 0.9, Path("round_01.html"))
    assert told.startswith("SELF_TRAINING.GATE.THRESH: expected at least one class above 0.9")
    assert (
        "in 7 images" in told and "0.7: 3.1%" in told and "See round_01.html, and lower it" in told
    )
    sam = why_no_labels(summary(0.0), 0.9, Path("round_01.html"))
    assert sam.startswith("SELF_TRAINING.REFINE: expected masks") and "MODEL.SAM.CHECKPOINT" in sam


def test_online_nothing_that_passes_is_told_by_the_masks_that_would():
    survey = Survey(
        np.zeros(4, np.int32), np.arange(4, dtype=np.int32), np.float32([0.2, 0.85, 0.6, 0.1])
    )
    told = why_nothing_passes(survey, 0.9, 5)
    assert "got none in 5 images" in told
    assert "of the masks and before SAM: 0.8: 25.0%, 0.7: 25.0%, 0.6: 50.0%." in told
