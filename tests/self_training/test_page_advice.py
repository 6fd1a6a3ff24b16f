"""What a round with few labels advises, of records alone."""

import pytest

from stseg.self_training.page_advice import advice_on, other_thresholds
from stseg.self_training.store_counts import RoundCounts
from stseg.self_training.store_records import ImageRecord
from tests.helpers.report_data import make_record

NAMES = ("cat", "dog", "cow")


def image(*classes, height=10, width=10, labelled=0):
    pixels = {0: labelled} if labelled else {}
    return ImageRecord("a.jpg", height, width, labelled / (height * width), pixels, classes)


def cat(score, pixels, **parts):
    return make_record(0, "cat", accepted=False, score=score, initial_pixels=pixels, **parts)


def summary(*records):
    counts = RoundCounts(len(NAMES))
    for index, record in enumerate(records):
        counts.add(index, record, 0)
    return counts.summary(NAMES)


def test_the_share_that_would_pass_is_of_all_pixels():
    dog = make_record(1, "dog", accepted=False, score=0.3, initial_pixels=25)
    # The second was labelled at half its size: its 75 pixels are 300.
    records = [image(cat(0.85, 75), dog), image(cat(0.5, 75), dog, height=20, width=20)]
    found = summary(*records)["passing"]
    some = {threshold: found[threshold] for threshold in ("0.9", "0.8", "0.5", "0.3")}
    assert some == pytest.approx({"0.9": 0, "0.8": 75 / 500, "0.5": 375 / 500, "0.3": 1})


def test_a_score_at_the_threshold_passes_as_it_does_in_the_gate():
    as_float32 = 0.8999999761581421
    assert summary(image(cat(as_float32, 100)))["passing"]["0.9"] == 1


def test_what_is_vetoed_would_never_pass():
    vetoed = make_record(0, "cat", accepted=True, score=0.99, initial_pixels=100)
    object.__setattr__(vetoed, "reason", "vetoed")
    assert summary(image(vetoed))["passing"]["0.5"] == 0


def test_no_image_lets_nothing_pass():
    assert summary()["passing"]["0.5"] == 0


def advice(*records):
    return advice_on(summary(*records))


def test_enough_labels_need_no_advice():
    assert advice(image(make_record(0, "cat"), labelled=5)) is None


def test_nothing_labelled_names_what_other_thresholds_would_pass():
    told = advice(image(cat(0.55, 30), make_record(1, "dog", False, score=0.3, initial_pixels=70)))
    assert told.found == "No pixel got a label."
    assert {("0.9", "0.0%"), ("0.5", "30.0%"), ("0.3", "100.0%")} < set(told.rows)
    text = " ".join(told.cures)
    assert all(key in text for key in ("GATE.THRESH", "GATE.QUANTILE", "name other classes"))
    assert "MODEL.SAM.CHECKPOINT" not in text


def test_accepted_classes_without_masks_point_at_sam():
    told = advice(image(make_record(0, "cat"), labelled=4))
    assert told.found == "Only 4.00% of the pixels got a label."
    assert "MODEL.SAM.CHECKPOINT" in told.cures[-1]


def test_the_next_lower_thresholds_are_told_in_a_sentence():
    shares = {"0.9": 0.01, "0.8": 0.0, "0.7": 0.12, "0.6": 0.254, "0.5": 0.4, "0.4": 0.9}
    told = other_thresholds(shares, 0.9, "pixels")
    assert told.endswith("of the pixels and before SAM: 0.7: 12.0%, 0.6: 25.4%, 0.5: 40.0%.")
    assert (
        other_thresholds(shares, 0.4, "masks") == "No threshold would let any of the masks through."
    )
