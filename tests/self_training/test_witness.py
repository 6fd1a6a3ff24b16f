"""What dense features say of labels, by number."""

import numpy as np
import pytest

from stseg.self_training.guard import GuardSettings, judge_round
from stseg.self_training.witness import Witness, class_shares
from tests.self_training.test_guard import scenes, snapshot

LENIENT = GuardSettings(min_agreement=0.0, min_class_agreement=0.0, min_kept=0.0, max_drift=1.0)


def with_features(maps, labels=None):
    """A snapshot whose features are as given, one (D, h, w) per image."""
    found = snapshot(labels)
    object.__setattr__(found, "features", tuple(np.asarray(m, np.float16) for m in maps))
    return found


def test_shares_are_parts_of_a_cell():
    label = np.zeros((4, 6), int)
    label[:2, 3:] = 1
    label[2:, :2] = -1
    start = with_features([np.zeros((1, 2, 2))], [label])
    (shares,) = class_shares(start, start)
    assert shares.shape == (4, 5)
    assert shares[:, 0].tolist() == pytest.approx([1, 0, 1 / 3, 1])
    assert shares[:, 1].tolist() == pytest.approx([0, 1, 0, 0])


def test_labels_that_follow_the_features_explain_them_and_others_do_not():
    start = snapshot(features=True)
    witness = Witness.of(start)
    own = 1 - witness.unexplained(class_shares(start, start)).sum()
    other = snapshot([np.roll(label, 9, axis=0)[:, ::-1] for label in scenes()])
    assert own > 0.9 > 0.5 > 1 - witness.unexplained(class_shares(other, start)).sum()
    one = snapshot([np.zeros_like(label) for label in scenes()])
    assert 1 - witness.unexplained(class_shares(one, start)).sum() == pytest.approx(0, abs=0.01)


def test_where_features_say_next_to_nothing_a_loss_of_it_is_no_harm():
    rng = np.random.default_rng(0)
    start = with_features([rng.normal(size=(6, 10, 20)) for _ in scenes()])
    now = snapshot([np.roll(label, 6, axis=1) for label in scenes()])
    verdict = judge_round(start, now, LENIENT)
    assert abs(verdict.evidence.explained_start) < 0.05 and not verdict.harmful
    assert abs(verdict.score) < 0.6


def test_a_loss_in_one_image_alone_is_within_the_error():
    labels = scenes()
    labels[0] = np.roll(labels[0], 40, axis=1)
    start = snapshot(features=True)
    verdict = judge_round(start, snapshot(labels), LENIENT)
    e = verdict.evidence
    assert e.explained_now < 0.94 * e.explained_start and not verdict.harmful
    assert e.explained_start - e.explained_now < 2 * e.explained_error
    labels = [np.roll(label, 4, axis=1) for label in scenes()]
    assert judge_round(start, snapshot(labels), LENIENT).harmful


def test_one_image_or_none_with_features_is_no_witness():
    assert Witness.of(snapshot()) is None
    assert Witness.of(snapshot(scenes(1), features=True)) is None
