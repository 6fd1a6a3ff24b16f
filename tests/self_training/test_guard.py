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
    GuardSettings,
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


def snapshot(labels=None, *, classes=NAMES, sure=True, entropy=0.3, stability=0.8, **more):
    """Confidence is 0.95 everywhere, or 0.5 where not sure; images differ a little, alike."""
    labels = scenes() if labels is None else labels
    outputs = [
        ImageOutput(
            index=i,
            image=f"{i}.jpg",
            label_map=label,
            confidence=np.full(label.shape, 0.95 if sure else 0.5),
            entropy=entropy + 0.001 * (i % 3),
            stability=stability + 0.001 * (i % 3),
        )
        for i, label in enumerate(labels)
    ]
    return snapshot_of(outputs, classes, **more)


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
    assert not verdict.harmful and not verdict.reasons
    assert verdict.evidence.agreement == 1.0 and verdict.evidence.drift == 0.0
    run = judge_run(start, snapshot(entropy=0.1, stability=0.99), 2)
    assert run.text == NO_GAIN == "no gain: kept the starting weights" and not run.adapted
    assert "0.00% of the pixels" in run.reasons[0]


def test_sharper_boundaries_with_more_stability_are_an_adaptation():
    start, now = snapshot(), snapshot(sharper(), entropy=0.2, stability=0.9)
    assert not judge_round(start, now).harmful
    run = judge_run(start, now, 1)
    assert run.text == ADAPTED == "adapted" and run.adapted
    assert "a fall by 50" in run.reasons[0]  # 0.1 of the 0.2 that were unstable


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
    assert judge_run(start, now, 1).text == NO_GAIN


def test_a_rare_class_that_vanished_is_named():
    verdict = judge_round(snapshot(sure=False), snapshot(one_class(scenes(), gone=4)))
    assert verdict.reasons == ("Less than 10% is left of 'class 4'.",)
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
    far = [np.roll(label, 3, axis=1) for label in scenes()]
    between = [np.roll(label, 1, axis=1) for label in scenes()]
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
    assert not judge_run(start, snapshot(sharper(), source_miou=70.0), 1).adapted


def test_less_stable_or_less_certain_predictions_are_harmful():
    assert "Stability" in judge_round(snapshot(), snapshot(stability=0.74)).reasons[0]
    assert "Entropy" in judge_round(snapshot(), snapshot(entropy=0.36)).reasons[0]


def test_figures_that_are_not_finite_are_harmful():
    for broken in (snapshot(entropy=np.nan), snapshot(stability=np.nan)):
        verdict = judge_round(snapshot(), broken)
        assert verdict.harmful and "finite" in verdict.reasons[-1]
        assert json.dumps(verdict.evidence.to_dict(), allow_nan=False)
        assert not judge_run(broken, snapshot(sharper()), 1).adapted


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
        (0.34, 0.9, True),
        (0.2, 0.8, True),
        (0.2, 0.79, False),  # certainty alone is what self-training teaches anyway
        (0.3, 0.8, False),
        (0.297, 0.805, False),
    ],
)
def test_the_signs_of_gain_are_combined_as_told(entropy, stability, adapted):
    now = snapshot(sharper(), entropy=entropy, stability=stability)
    assert judge_run(snapshot(), now, 1).adapted == adapted


def test_images_already_handled_perfectly_give_no_gain():
    start = snapshot(entropy=0.01, stability=0.99)
    run = judge_run(start, snapshot(sharper(), entropy=0.001, stability=0.995), 3)
    assert run.text == NO_GAIN and all("nothing is left to gain" in r for r in run.reasons)


def test_a_gain_within_the_noise_over_the_images_is_none():
    start, now = snapshot(), snapshot(sharper())
    uneven = np.array([0.5, -0.4] * 4)
    noisy = replace(now, stability=start.stability + uneven, entropy=start.entropy)
    run = judge_run(start, noisy, 1)
    assert not run.adapted and "2 standard errors" in run.reasons[0]
    assert judge_run(start, noisy, 1, GuardSettings(noise=0.0)).adapted


def test_the_noise_of_a_gain_is_that_of_a_mean_over_the_images():
    start, now = snapshot(), snapshot(sharper())
    uneven = 0.1 * np.array([1.0, -1.0] * 4)
    now = replace(now, entropy=start.entropy - 0.15 + uneven)
    run = judge_run(start, now, 1)
    # The deviation is 0.1 (8 / 7) ** 0.5: the gain exceeds two errors, but not two deviations.
    assert run.evidence.entropy_error == pytest.approx(0.1 / 7**0.5)
    assert run.adapted


def test_without_an_accepted_round_nothing_is_adapted():
    run = judge_run(snapshot(), snapshot(sharper(), stability=0.95), 0)
    assert run.text == NO_GAIN and run.reasons == ("No round was accepted.",)


def test_one_class_only_is_judged():
    flat = [np.zeros((4, 4), dtype=int)] * 2
    start = snapshot(flat, classes=("wall",))
    assert not judge_round(start, snapshot(flat, classes=("wall",))).harmful
    unknown = snapshot([np.full((4, 4), -1)] * 2, classes=("wall",))
    verdict = judge_round(start, unknown)
    assert verdict.harmful and verdict.evidence.drift == 1.0
    assert not judge_run(start, snapshot(flat, classes=("wall",), stability=1.0), 1).adapted


def test_one_image_has_no_noise_to_exceed():
    start = snapshot(scenes(1))
    run = judge_run(start, snapshot(sharper()[:1], stability=0.9), 1)
    assert run.evidence.entropy_error is None and run.adapted


def test_847_classes_are_told_in_a_short_table_and_a_full_record():
    names = tuple(f"name {c}" for c in range(847))
    labels = [np.arange(847).reshape(7, 121)]
    moved = [np.roll(labels[0], 1, axis=1)]
    evidence = judge_round(snapshot(labels, classes=names), snapshot(moved, classes=names)).evidence
    assert len(evidence.classes) == 847 and len(evidence.to_text(10).splitlines()) < 30
    assert "(837 more classes)" in evidence.to_text(10)
    assert len(json.loads(json.dumps(evidence.to_dict(), allow_nan=False))["classes"]) == 847


def test_the_tables_tell_coverage_and_source_where_given():
    coverage = np.array([0.5, 1.0, 0.25, np.nan, 0.0])
    start = snapshot(coverage=coverage, source_miou=61.5)
    evidence = judge_round(start, snapshot(sharper())).evidence
    rows = dict((name, (a, b)) for name, a, b in evidence.rows())
    assert rows["source mIoU"] == ("61.50", "-")
    assert rows["... that keep their class"] == ("", "95.0 %")
    shown = {row[0]: row for row in evidence.class_rows(None)}
    assert shown["class 2"] == ("class 2", "20.0 %", "20.0 %", "95.0 %", "25.0 %", "-")
    assert shown["class 3"][4] == "-"


def test_snapshots_of_other_images_or_classes_are_refused():
    with pytest.raises(ValueError, match="same images, got 8 and 7"):
        judge_round(snapshot(), snapshot(scenes()[:7]))
    with pytest.raises(ValueError, match="one vocabulary"):
        judge_round(snapshot(), snapshot(classes=tuple("abcde")))


@pytest.mark.parametrize("name", [field.name for field in fields(GuardSettings)])
@pytest.mark.parametrize("value", [-0.1, float("nan"), 101.0])
def test_settings_out_of_range_are_refused_by_key(name, value):
    if name == "noise" and value == 101.0:
        return
    with pytest.raises(ValueError, match=rf"SELF_TRAINING\.GUARD\.{name.upper()}: expected"):
        GuardSettings(**{name: value})
