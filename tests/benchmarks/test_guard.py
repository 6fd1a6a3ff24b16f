"""The study of the guard: its cases, what spoils labels, and how errors are counted."""

import json

import numpy as np
import pytest

from benchmarks import guard
from benchmarks.guard_case import kinds, open_limits
from benchmarks.guard_poisons import labeler_name, poisons
from benchmarks.guard_worlds import DRAWINGS, PHOTOS, WORLDS
from stseg.config import setup_cfg
from stseg.self_training import LABELER_REGISTRY
from stseg.self_training.from_config import guard_settings
from stseg.self_training.guard import judge_round
from stseg.small_world import CLASS_NAMES
from tests.self_training.test_guard import shuffled, snapshot

REPORT = guard.ROOT / "projects" / "STSeg" / "results" / "guard.json"
POISONED = [(world, name) for world in WORLDS.values() for name in poisons(world)]


def labels_of(world):
    """A map (40, 50) of all its classes and the unknown."""
    classes = len(world.names)
    return np.random.default_rng(0).integers(-1, classes, (40, 50)).astype(np.int32)


def test_there_are_64_cases_half_of_them_of_starts_that_are_looked_at_once(tmp_path):
    starts = DRAWINGS.starts
    cases = [guard.Case(s, k, tmp_path) for s in starts for k in guard.kinds_of(s)]
    assert len(cases) == len({case.seed for case in cases}) == 64
    assert {case.kind for case in cases} == set(kinds(DRAWINGS))
    aside = [case for case in cases if case.is_aside]
    assert len(aside) == 32 and {case.start for case in aside} == {"start1", "unsure0"}


def test_cases_of_drawings_are_those_of_the_report_that_is_kept(tmp_path):
    rows = json.loads(REPORT.read_text(encoding="utf-8"))["rows"]
    cases = [guard.Case(s, k, tmp_path) for s in DRAWINGS.starts for k in guard.kinds_of(s)]
    assert [(c.start, c.kind, c.is_aside) for c in cases] == [
        (row["start"], row["kind"], row["aside"]) for row in rows
    ]
    assert [case.seed for case in cases] == [100 * k + n for k in range(4) for n in range(16)]
    assert cases[17].folder == tmp_path / "cases" / "start0" / "honest_no_sam"


def test_photographs_have_all_kinds_and_every_case_is_judged_once(tmp_path):
    starts = list(PHOTOS.starts)[:2]
    cases = [guard.Case(s, k, tmp_path, PHOTOS) for s in starts for k in kinds(PHOTOS)]
    assert starts == ["seed0", "seed1"] and guard.kinds_of("seed0", PHOTOS) == list(kinds(PHOTOS))
    assert len(kinds(PHOTOS)) == len(kinds(DRAWINGS)) == 17
    assert all(case.is_aside for case in cases)
    assert [case.seed for case in cases] == [100 * k + n for k in range(2) for n in range(17)]


@pytest.mark.parametrize("world", WORLDS.values())
def test_every_poison_is_a_kind_and_every_word_of_a_world_one_of_its_names(world):
    spoiled = [kind.poison for kind in kinds(world).values() if kind.poison]
    assert spoiled == list(poisons(world))
    pairs = [*world.one_pair, *(name for pair in world.three_pairs for name in pair)]
    assert {*world.unseen, *world.things, *world.wrong, *pairs} <= set(world.names)
    assert set(world.wrong.values()).isdisjoint(world.names)
    assert {*world.wrong}.isdisjoint(world.unseen)  # who has masks loses the most by a wrong name


def test_with_open_limits_the_guard_undoes_nothing():
    settings = guard_settings(setup_cfg(opts=open_limits(), device="cpu"))
    now = snapshot(shuffled(), entropy=0.9, stability=0.0)
    assert judge_round(snapshot(), now).harmful
    assert not judge_round(snapshot(features=True), now, settings).harmful


@pytest.mark.parametrize("world, name", POISONED)
def test_every_poison_changes_labels_and_invents_no_class(world, name):
    labels, spoil = labels_of(world), poisons(world)[name]
    spoiled = spoil(labels, world.names)
    assert spoiled.shape == labels.shape and spoiled.dtype == labels.dtype
    assert -1 <= spoiled.min() and spoiled.max() < len(world.names)
    assert np.array_equal(spoiled, spoil(labels, world.names))
    parts = np.split(labels, 8)  # "erased" leaves half of the images alone
    assert any((spoil(part, world.names) != part).any() for part in parts)


def test_labelers_of_drawings_keep_their_names_and_photographs_have_their_own():
    found = [name for name, _ in LABELER_REGISTRY if name.startswith("poison_")]
    assert sorted(found) == sorted(labeler_name(name, world) for world, name in POISONED)
    assert {"poison_shift_4", "poison_ring", "poison_ring_photos", "poison_shift_8_photos"} <= {
        *found
    }


def test_labels_slip_down_and_to_the_right():
    labels = labels_of(DRAWINGS)
    spoiled = poisons(DRAWINGS)["shift_4"](labels, CLASS_NAMES)
    assert np.array_equal(spoiled[4:, 4:], labels[:-4, :-4])
    assert (spoiled[:4] == -1).all() and (spoiled[:, :4] == -1).all()


def test_a_ring_moves_things_by_one_and_leaves_stuff_and_the_unknown():
    labels = labels_of(DRAWINGS)
    spoiled = poisons(DRAWINGS)["ring"](labels, CLASS_NAMES)
    stuff = labels < 10
    assert np.array_equal(spoiled[stuff], labels[stuff])
    assert (spoiled[labels == 12] == 13).all() and (spoiled[labels == 30] == 10).all()


def test_poisons_of_photographs_go_by_the_names_of_streets():
    names, labels, of = PHOTOS.names, labels_of(PHOTOS), poisons(PHOTOS)
    where = {name: labels == names.index(name) for name in names}
    ring = of["ring"](labels, names)
    assert (ring[where["pole"]] == names.index("sign symbol")).all()
    assert (ring[where["bicyclist"]] == names.index("pole")).all()
    assert (ring[where["road"]] == names.index("road")).all()
    hidden = of["no_unseen"](labels, names)
    assert (hidden[where["car"]] == -1).all() and (hidden[where["pole"]] >= 0).all()
    swapped = of["swapped_3"](labels, names)
    assert (swapped[where["road"]] == names.index("pavement")).all()
    assert (swapped[where["car"]] == names.index("fence")).all()


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
