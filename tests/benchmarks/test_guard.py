"""The study of the guard: its cases, what spoils labels, and how errors are counted."""

import json

import numpy as np
import pytest

from benchmarks import guard
from benchmarks.guard_case import KINDS, open_limits
from benchmarks.guard_poisons import POISONS
from stseg.config import setup_cfg
from stseg.self_training import LABELER_REGISTRY
from stseg.self_training.from_config import guard_settings
from stseg.self_training.guard import judge_round
from stseg.small_world import CLASS_NAMES
from tests.self_training.test_guard import shuffled, snapshot

LABELS = np.random.default_rng(0).integers(-1, len(CLASS_NAMES), (40, 50)).astype(np.int32)


def test_there_are_64_cases_half_of_them_of_starts_that_are_looked_at_once(tmp_path):
    cases = [guard.Case(s, k, tmp_path) for s in guard.STARTS for k in guard.kinds_of(s)]
    assert len(cases) == len({case.seed for case in cases}) == 64
    assert {case.kind for case in cases} == set(KINDS)
    aside = [case for case in cases if case.is_aside]
    assert len(aside) == 32 and {case.start for case in aside} == {"start1", "unsure0"}


def test_with_open_limits_the_guard_undoes_nothing():
    settings = guard_settings(setup_cfg(opts=open_limits(), device="cpu"))
    now = snapshot(shuffled(), entropy=0.9, stability=0.0)
    assert judge_round(snapshot(), now).harmful
    assert not judge_round(snapshot(features=True), now, settings).harmful


@pytest.mark.parametrize("name", POISONS)
def test_every_poison_changes_labels_and_invents_no_class(name):
    spoiled = POISONS[name](LABELS, CLASS_NAMES)
    assert spoiled.shape == LABELS.shape and spoiled.dtype == LABELS.dtype
    assert (spoiled != LABELS).any() or name == "erased"  # which leaves half of the images alone
    assert -1 <= spoiled.min() and spoiled.max() < len(CLASS_NAMES)
    assert np.array_equal(spoiled, POISONS[name](LABELS, CLASS_NAMES))
    assert f"poison_{name}" in LABELER_REGISTRY


def test_labels_slip_down_and_to_the_right():
    spoiled = POISONS["shift_4"](LABELS, CLASS_NAMES)
    assert np.array_equal(spoiled[4:, 4:], LABELS[:-4, :-4])
    assert (spoiled[:4] == -1).all() and (spoiled[:, :4] == -1).all()


def test_a_ring_moves_things_by_one_and_leaves_stuff_and_the_unknown():
    spoiled = POISONS["ring"](LABELS, CLASS_NAMES)
    stuff = LABELS < 10
    assert np.array_equal(spoiled[stuff], LABELS[stuff])
    assert (spoiled[LABELS == 12] == 13).all() and (spoiled[LABELS == 30] == 10).all()


def row(miou, chosen, scores):
    return {"miou": miou, "chosen": chosen, "scores": scores}


def test_errors_are_counted_as_told():
    rows = [
        row([40.0, 42.0, 44.0], 2, [0.1, 0.2]),  # right
        row([40.0, 41.5, 38.0], 2, [0.05, 0.04]),  # false accept, and 3.5 from the best
        row([40.0, 43.0], 0, [0.15]),  # false reject
        row([40.0, 30.0], 0, [-0.9]),  # right
        row([40.0, 39.6], 1, [-0.1]),  # a loss that does not count
    ]
    found = guard.summarise(rows)
    assert (found["models"], found["adapted"], found["gained"]) == (5, 3, 3)
    assert (found["false_accepts"], found["false_rejects"]) == (1, 1)
    assert found["round_gap"] == pytest.approx((0 + 3.5 + 3 + 0 + 0.4) / 5)
    assert (found["largest_gap"], found["within_1"]) == (3.5, 3)
    assert 0.7 < found["spearman"] < 1


def test_a_case_is_judged_round_by_round_and_ends_where_one_harms(tmp_path):
    case = guard.Case("shipped", "honest", tmp_path)
    folder = case.folder / "self_training"
    folder.mkdir(parents=True)
    better = [np.roll(label, 1, axis=1) for label in map(np.asarray, snapshot().labels)]
    better = [label.astype(np.int64) for label in better]
    snapshot().save(folder / "start.npz")
    snapshot(better, entropy=0.25).save(folder / "round_01.npz")
    snapshot(shuffled()).save(folder / "round_02.npz")
    snapshot(better, entropy=0.2).save(folder / "round_03.npz")
    guard.done_file(case).write_text(json.dumps({"miou": [40.0, 42.0, 10.0, 45.0]}))
    found = guard.judge(case)
    assert found["harmful"] == [False, True, False]
    assert (found["outcome"], found["chosen"]) == ("adapted", 1)  # the third never came to be
