"""Snapshots are built by hand: scenes of vertical bands, one class each."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from detectron2.config import get_cfg

from stseg.config import add_stseg_config
from stseg.self_training.from_config import guard_settings
from stseg.self_training.guard import (
    ADAPTED,
    NO_GAIN,
    UNDECIDED,
    GuardSettings,
    best_round,
    judge_round,
    judge_run,
)
from stseg.self_training.snapshot import ImageOutput, snapshot_of

WIDTHS = (40, 30, 20, 8, 2)  # per cent of every image
NAMES = tuple(f"class {c}" for c in range(len(WIDTHS)))
BANDS = np.repeat(np.arange(len(WIDTHS)), WIDTHS)


def scenes(count=8):
    """Label maps (20, 100); each image is turned by some columns, so that they differ."""
    return [np.tile(np.roll(BANDS, 7 * i), (20, 1)) for i in range(count)]


def snapshot(
    labels=None,
    *,
    classes=NAMES,
    sure=True,
    entropy=0.3,
    stability=0.8,
    features=False,
    **more,
):
    """Confidence is 0.95 everywhere, or 0.5 where not sure; images differ a little, alike.

    With features every class has a look of its own: that of the scenes, whatever the labels are.
    """
    labels = scenes() if labels is None else labels
    outputs = [
        ImageOutput(
            index=i,
            image=f"{i}.jpg",
            label_map=label,
            confidence=np.full(label.shape, 0.95 if sure else 0.5),
            entropy=entropy + 0.001 * (i % 3),
            stable=np.random.default_rng(i).permutation(label.size).reshape(label.shape)
            < stability * label.size,
            shares=np.bincount(label[label >= 0], minlength=len(classes)) / label.size,
            features=looks(scenes()[i]) if features else None,
        )
        for i, label in enumerate(labels)
    ]
    return snapshot_of(outputs, classes, **more)


def looks(label):
    """(5, 20, 100) float16, a channel per class, a little noisy."""
    noise = np.random.default_rng(int(label[0, 0])).normal(0, 0.1, (len(NAMES), *label.shape))
    return (np.eye(len(NAMES))[label].transpose(2, 0, 1) + noise).astype(np.float16)


def sharper():
    """Every boundary moves by one column of a hundred: 5 % of the pixels change."""
    return [np.roll(label, 1, axis=1) for label in scenes()]


def shuffled():
    rng = np.random.default_rng(0)
    return [rng.permutation(label.ravel()).reshape(label.shape) for label in scenes()]


def one_class(labels, gone, winner=0):
    return [np.where(label == gone, winner, label) for label in labels]


def test_the_limits_are_those_of_the_keys_each_of_its_own():
    cfg = get_cfg()
    add_stseg_config(cfg)
    assert guard_settings(cfg) == GuardSettings()
    for field in fields(GuardSettings):
        other = cfg.clone()
        other.SELF_TRAINING.GUARD[field.name.upper()] = 0.125
        assert guard_settings(other) == replace(GuardSettings(), **{field.name: 0.125})


def test_nothing_changed_is_harmless_and_no_gain():
    start = snapshot()
    verdict = judge_round(start, snapshot())
    assert not verdict.harmful and not verdict.reasons and verdict.score == 0
    assert verdict.evidence.agreement == 1.0 and verdict.evidence.drift == 0.0
    surer = judge_round(start, snapshot(entropy=0.1, stability=0.99))
    assert surer.outcome == NO_GAIN == "no gain: kept the starting weights"
    assert "0.00% of the pixels" in surer.signs[0]


def test_sharper_boundaries_with_more_stability_are_an_adaptation():
    verdict = judge_round(snapshot(), snapshot(sharper(), entropy=0.2, stability=0.9))
    assert not verdict.harmful
    assert verdict.outcome == ADAPTED == "adapted"
    assert "steadiness on mirrored copies by +1" in verdict.signs[0]
    assert judge_run(verdict.to_dict()) == (ADAPTED, verdict.signs)


def test_the_score_is_the_change_of_information_and_of_what_labels_explain():
    start = snapshot(features=True)
    lenient = GuardSettings(max_explained_drop=1.0)
    verdict = judge_round(start, snapshot(sharper(), entropy=0.28), lenient)
    e = verdict.evidence
    areas = np.array(WIDTHS) / 100
    together = -(areas * np.log(areas)).sum() / np.log(5)
    assert e.information_start == pytest.approx(together - start.entropy.mean(), abs=1e-6)
    assert e.information_now - e.information_start == pytest.approx(0.02, abs=1e-6)
    assert 0.5 < e.explained_now < e.explained_start < 1
    wanted = 0.02 / e.information_start + e.explained_now / e.explained_start - 1
    assert verdict.score == pytest.approx(wanted)
    assert f"together {verdict.score:+.3f}" in verdict.signs[0]


@pytest.mark.parametrize("shift", [2, 4, 8])
def test_labels_that_slip_explain_less_of_what_the_start_saw(shift):
    slipped = [np.roll(label, shift, axis=1) for label in scenes()]
    lenient = GuardSettings(min_agreement=0.0, min_class_agreement=0.0)
    start, now = snapshot(features=True), snapshot(slipped, entropy=0.1, stability=0.99)
    verdict = judge_round(start, now, lenient)
    assert [reason[:14] for reason in verdict.reasons] == ["Labels explain"]
    # Without a witness nothing tells, for the histogram stays, and the model is sure and steady.
    assert not judge_round(snapshot(), now, lenient).harmful
    assert not judge_round(start, now, replace(lenient, max_explained_drop=1.0)).harmful


def test_a_class_that_swallows_a_small_one_explains_less():
    start = snapshot(features=True)
    now = snapshot(one_class(scenes(), gone=3))
    evidence = judge_round(start, now).evidence
    assert evidence.explained_now < 0.95 * evidence.explained_start


def test_other_names_for_the_same_regions_explain_as_much():
    """What labels explain is blind to names; the sure pixels are not."""
    swap = np.array([0, 1, 3, 2, 4])
    verdict = judge_round(snapshot(features=True), snapshot([swap[x] for x in scenes()]))
    e = verdict.evidence
    assert e.explained_now == pytest.approx(e.explained_start, rel=1e-3)
    assert verdict.harmful and "'class 2', 'class 3'" in " ".join(verdict.reasons)


def test_between_harm_and_gain_the_verdict_is_undecided():
    now = snapshot(sharper(), entropy=0.33)
    verdict = judge_round(snapshot(), now)
    assert not verdict.harmful and verdict.outcome == UNDECIDED
    assert UNDECIDED == "undecided: kept the starting weights"
    assert -0.1 < verdict.score < -0.03 and "less than -0.030" in verdict.signs[0]
    assert judge_round(snapshot(), now, GuardSettings(min_score=-0.1)).outcome == ADAPTED


def test_shuffled_predictions_are_harmful_though_the_histogram_stays():
    verdict = judge_round(snapshot(), snapshot(shuffled(), entropy=0.1, stability=0.99))
    assert verdict.harmful and verdict.evidence.drift == 0.0
    assert "sure of keep their class" in verdict.reasons[0]
    unsure = judge_round(snapshot(sure=False), snapshot(shuffled(), entropy=0.6))
    assert unsure.harmful and "Entropy rose" in unsure.reasons[0]


@pytest.mark.parametrize("sure", [True, False])
def test_collapse_to_one_class_is_harmful_however_certain_and_stable(sure):
    flat = [np.zeros_like(label) for label in scenes()]
    start, now = snapshot(sure=sure), snapshot(flat, entropy=0.0, stability=0.99)
    verdict = judge_round(start, now)
    assert verdict.harmful
    told = " ".join(verdict.reasons)
    assert "histogram moved by 60.0%" in told
    assert "is left of 'class 1', 'class 2', 'class 3', 'class 4'" in told
    assert verdict.outcome == NO_GAIN


def test_a_rare_class_that_vanished_is_named():
    verdict = judge_round(snapshot(sure=False), snapshot(one_class(scenes(), gone=4)))
    assert verdict.reasons == ("Less than 25% is left of 'class 4'.",)
    tiny = GuardSettings(min_area=0.03)
    assert not judge_round(snapshot(), snapshot(one_class(scenes(), gone=4)), tiny).harmful


def test_two_sure_classes_that_change_places_are_named():
    swap = np.array([0, 1, 2, 4, 3])
    rare = [swap[label] for label in scenes()]
    verdict = judge_round(snapshot(), snapshot(rare), GuardSettings(min_agreement=0.5))
    assert len(verdict.reasons) == 1 and "'class 3', 'class 4'" in verdict.reasons[0]


def test_a_class_with_few_sure_pixels_may_lose_them():
    """Of a large class one column of a hundred is sure, and goes to another."""
    start = snapshot(sure=False)
    sure = tuple(np.where(np.arange(100) == 10, 0.95, c) for c in start.confidence)
    start = replace(start, confidence=tuple(c.astype(np.float16) for c in sure))
    labels = [np.where(np.arange(100) == 10, (label + 1) % 4, label) for label in scenes()]
    lenient = GuardSettings(min_agreement=0.0, min_area=0.02)
    verdict = judge_round(start, snapshot(labels), lenient)
    assert not verdict.harmful
    shares = {row.name: row.sure_start for row in verdict.evidence.classes}
    assert sum(shares.values()) == pytest.approx(verdict.evidence.sure) == pytest.approx(0.01)
    assert all(row.kept_sure in (None, 0.0) for row in verdict.evidence.classes)
    assert judge_round(start, snapshot(labels), replace(lenient, min_area=0.001)).harmful


def test_small_steps_add_up_because_rounds_are_judged_against_the_start():
    far = [np.roll(label, 5, axis=1) for label in scenes()]
    between = [np.roll(label, 2, axis=1) for label in scenes()]
    thin_may_move = GuardSettings(min_class_agreement=0.0)
    assert not judge_round(snapshot(), snapshot(between), thin_may_move).harmful
    assert not judge_round(snapshot(between), snapshot(far), thin_may_move).harmful
    assert judge_round(snapshot(), snapshot(far), thin_may_move).harmful


def test_a_drop_on_the_source_set_is_harmful_and_a_rise_is_no_gain():
    start = snapshot(source_miou=60.0)
    verdict = judge_round(start, snapshot(source_miou=57.9))
    assert verdict.reasons == ("Source mIoU fell from 60.00 to 57.90 (at most by 2.00).",)
    assert not judge_round(start, snapshot(source_miou=58.1)).harmful
    assert not judge_round(start, snapshot()).harmful
    better = judge_round(start, snapshot(sharper(), source_miou=70.0))
    assert better.score == judge_round(start, snapshot(sharper())).score


def test_less_stable_or_less_certain_predictions_are_harmful():
    assert "Stability" in judge_round(snapshot(), snapshot(stability=0.74)).reasons[0]
    assert "Entropy" in judge_round(snapshot(), snapshot(entropy=0.36)).reasons[0]


def test_figures_that_are_not_finite_are_harmful():
    for broken in (snapshot(entropy=np.nan), replace(snapshot(), shares=np.full((8, 5), np.nan))):
        verdict = judge_round(snapshot(), broken)
        assert verdict.harmful and "finite" in verdict.reasons[-1]
        assert json.dumps(verdict.to_dict(), allow_nan=False)
        assert judge_round(broken, snapshot(sharper())).harmful


def test_without_sure_pixels_agreement_has_no_say():
    evidence = judge_round(snapshot(sure=False), snapshot(shuffled())).evidence
    assert evidence.agreement is None and evidence.sure == 0.0
    assert all(row.kept_sure is None for row in evidence.classes)
    assert "-" in evidence.to_text()


def test_pixels_without_a_class_are_never_sure():
    labels = one_class(scenes(), gone=0, winner=-1)
    evidence = judge_round(snapshot(labels), snapshot(labels)).evidence
    assert evidence.sure == pytest.approx(0.6) and evidence.agreement == 1.0
    assert judge_round(snapshot(labels), snapshot()).evidence.changed == pytest.approx(0.4)


def test_a_confidence_of_exactly_the_threshold_is_sure():
    start = snapshot()
    at = replace(start, confidence=tuple(np.full_like(c, 0.9) for c in start.confidence))
    assert judge_round(at, start).evidence.sure == 1.0


@pytest.mark.parametrize(
    ("entropy", "stability", "adapted"),
    [
        (0.3, 0.9, True),
        (0.31, 0.9, True),
        (0.2, 0.8, True),
        (0.33, 0.8, False),
        (0.34, 0.81, False),
    ],
)
def test_without_features_information_and_steadiness_are_weighed(entropy, stability, adapted):
    verdict = judge_round(snapshot(), snapshot(sharper(), entropy=entropy, stability=stability))
    assert (verdict.outcome == ADAPTED) == adapted


def record(number, score, harmful=False, outcome=ADAPTED):
    return {"round": number, "score": score, "harmful": harmful, "outcome": outcome, "signs": []}


@pytest.mark.parametrize(
    ("records", "kept"),
    [
        ([record(1, 0.05), record(2, 0.02), record(3, 0.04)], 3),
        ([record(1, 0.05), record(2, 0.02), record(3, 0.0)], 2),  # 3 is worse beyond the noise
        ([record(1, 0.05), record(2, 0.08, harmful=True), record(3, -0.2)], 1),
        ([record(1, 0.0), record(2, -0.035, outcome=UNDECIDED)], 1),
        ([record(1, -0.05, outcome=UNDECIDED), record(2, -0.03)], 2),
        ([record(1, 0.1, harmful=True), record(1, 0.0)], 1),
        ([record(1, 0.1, harmful=True)], None),
        ([], None),
    ],
)
def test_the_last_round_is_kept_unless_an_earlier_one_was_clearly_better(records, kept):
    best = best_round(records, GuardSettings(noise=0.04))
    assert (best and best["round"]) == kept
    assert judge_run(best)[0] == (NO_GAIN if kept is None else best["outcome"])


def test_without_an_accepted_round_nothing_is_adapted():
    assert judge_run(None) == (NO_GAIN, ("No round was accepted.",))


def test_one_class_only_is_judged():
    flat = [np.zeros((4, 4), dtype=int)] * 2
    start = snapshot(flat, classes=("wall",))
    assert not judge_round(start, snapshot(flat, classes=("wall",))).harmful
    unknown = snapshot([np.full((4, 4), -1)] * 2, classes=("wall",))
    verdict = judge_round(start, unknown)
    assert verdict.harmful and verdict.evidence.drift == 1.0
    steadier = judge_round(start, snapshot(flat, classes=("wall",), stability=1.0))
    assert steadier.outcome == NO_GAIN


def test_one_image_is_judged_without_a_witness():
    start = snapshot(scenes(1), features=True)
    verdict = judge_round(start, snapshot(sharper()[:1], stability=0.9))
    assert verdict.evidence.explained_start is None and verdict.outcome == ADAPTED


def test_847_classes_are_told_in_a_short_table_and_a_full_record():
    names = tuple(f"name {c}" for c in range(847))
    labels = [np.arange(847).reshape(7, 121)]
    moved = [np.roll(labels[0], 1, axis=1)]
    evidence = judge_round(snapshot(labels, classes=names), snapshot(moved, classes=names)).evidence
    assert len(evidence.classes) == 847 and len(evidence.to_text(10).splitlines()) < 30
    assert "(837 more classes)" in evidence.to_text(10)
    assert len(json.loads(json.dumps(evidence.to_dict(), allow_nan=False))["classes"]) == 847


def test_the_tables_tell_what_was_measured():
    start = snapshot(features=True, source_miou=61.5)
    evidence = judge_round(start, snapshot(sharper())).evidence
    rows = dict((name, (a, b)) for name, a, b in evidence.rows())
    assert rows["source mIoU"] == ("61.50", "-")
    assert rows["... that keep their class"] == ("", "95.0 %")
    assert rows["stable on mirrored copies"] == ("80.0 %", "80.0 %")
    assert all(rows["features explained by labels"])
    shown = {row[0]: row for row in evidence.class_rows(None)}
    assert shown["class 2"] == ("class 2", "20.0 %", "20.0 %", "95.0 %")


def test_snapshots_of_other_images_or_classes_are_refused():
    with pytest.raises(ValueError, match="same images, got 8 and 7"):
        judge_round(snapshot(), snapshot(scenes()[:7]))
    with pytest.raises(ValueError, match="one vocabulary"):
        judge_round(snapshot(), snapshot(classes=tuple("abcde")))


@pytest.mark.parametrize("name", [field.name for field in fields(GuardSettings)])
@pytest.mark.parametrize("value", [-0.1, float("nan"), 101.0])
def test_settings_out_of_range_are_refused_by_key(name, value):
    if value == value and (name == "min_score" or (name == "noise" and value > 0)):
        return  # it has no such limit
    with pytest.raises(ValueError, match=rf"SELF_TRAINING\.GUARD\.{name.upper()}: expected"):
        GuardSettings(**{name: value})
