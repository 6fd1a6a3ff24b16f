import numpy as np
import pytest

from stseg.evaluation.calibration import ConfidenceHistogram


def histogram(confidence, correct, bins=3000):
    result = ConfidenceHistogram(bins)
    result.update(np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool))
    return result


def random_pixels(seed, size=5000):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(3, 1, size).astype(np.float32)
    return confidence, rng.random(size) < confidence**2


def brute_force_ece(confidence, correct, bins):
    """Guo et al., bin by bin from the raw values."""
    confidence = confidence.astype(np.float64)
    error = 0.0
    for b in range(bins):
        inside = (confidence >= b / bins) & ((confidence < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            gap = abs(confidence[inside].mean() - correct[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("bins", [1, 10, 15, 100, 3000])
def test_calibration_error_equals_the_definition_on_raw_values(bins):
    confidence, correct = random_pixels(bins)
    expected = brute_force_ece(confidence, correct, bins)
    assert histogram(confidence, correct).ece(bins) == pytest.approx(expected, abs=1e-6)
    assert expected > 0.05


def test_calibration_by_hand():
    ours = histogram([0.9, 0.9, 0.9, 0.9, 0.3], [1, 1, 1, 0, 0])
    assert ours.ece(10) == pytest.approx(4 / 5 * 0.15 + 1 / 5 * 0.3)
    assert histogram([1.0, 1.0], [1, 1]).ece() == 0
    assert histogram([1.0, 0.0], [0, 1]).ece() == 1


def test_a_bin_is_closed_at_the_left_and_the_last_one_at_both_ends():
    ours = histogram([0.0, 0.25, 0.5, 0.5, 1.0], [1, 0, 1, 1, 0], bins=2)
    assert ours.pixels.tolist() == [2, 3] and ours.correct.tolist() == [1, 2]


def test_risk_falls_with_coverage_as_counted_by_hand():
    ours = histogram([0.9, 0.8, 0.8, 0.1], [1, 1, 0, 0], bins=10)
    coverage, risk = ours.risk_coverage()
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 2])
    expected = 0.25 * 0 + 0.5 * (0 + 1 / 3) / 2 + 0.25 * (1 / 3 + 1 / 2) / 2
    assert ours.aurc() == pytest.approx(expected)


def test_the_area_equals_the_mean_risk_over_sorted_pixels():
    confidence, correct = random_pixels(3)
    order = np.argsort(-confidence)
    risk = np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)
    assert histogram(confidence, correct).aurc() == pytest.approx(risk.mean(), abs=1e-3)


def test_confidence_that_ranks_well_has_the_smaller_area():
    confidence, correct = random_pixels(5)
    shuffled = np.random.default_rng(0).permutation(confidence)
    assert histogram(confidence, correct).aurc() < histogram(shuffled, correct).aurc() - 0.05


def test_order_and_splits_change_nothing_at_all():
    confidence, correct = random_pixels(7)
    whole = histogram(confidence, correct)
    parts = [histogram(confidence[i::3], correct[i::3]) for i in (2, 0, 1)]
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    for name in ("pixels", "correct", "steps"):
        assert (getattr(parts[0], name) == getattr(whole, name)).all()
    with pytest.raises(ValueError, match="expected 3000 bins, got 10"):
        whole.merge(ConfidenceHistogram(10))


def test_confidences_are_rounded_to_the_nearest_step():
    step = 2.0**-24
    ours = histogram([0.4 * step, 0.6 * step, 1.6 * step, 1.0], [0, 0, 0, 1], bins=2)
    assert ours.steps.tolist() == [0 + 1 + 2, 2**24]


def test_without_pixels_figures_are_nan():
    with np.errstate(all="raise"):
        empty = histogram([], [])
        assert np.isnan(empty.ece()) and np.isnan(empty.aurc())
        assert all(a.size == 0 for a in empty.risk_coverage())


def test_half_precision_may_end_a_little_above_one():
    ours = ConfidenceHistogram(10)
    ours.update(np.array([1.0009765625], dtype=np.float16), np.array([True]))
    assert ours.pixels[-1] == 1 and ours.ece(10) == 0


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan, np.inf])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match=r"a\.png: expected confidences in \[0, 1\]"):
        ConfidenceHistogram().update(np.array([0.5, value]), np.array([True, True]), "a.png")


def test_faulty_arguments_are_named():
    ours = ConfidenceHistogram()
    with pytest.raises(TypeError, match="expected floats, got int64"):
        ours.update(np.ones(2, dtype=np.int64), np.ones(2, dtype=bool))
    with pytest.raises(TypeError, match="expected bools"):
        ours.update(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="one size"):
        ours.update(np.ones(2), np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="a divisor of 3000, got 7"):
        ours.ece(7)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ConfidenceHistogram(0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_made_confidences_wrong_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(1.0, 1.5, 200_000)
    right = rng.random(logits.size) < 1 / (1 + np.exp(-logits))
    told = 1 / (1 + np.exp(-logits * temperature))
    ours = histogram(told, right)
    assert ours.temperature() == pytest.approx(temperature, rel=0.03)
    again = 1 / (1 + np.exp(-logits * temperature / ours.temperature()))
    assert histogram(again, right).ece() < 0.005


def test_a_temperature_stays_finite_and_needs_pixels():
    assert histogram([0.9, 0.8], [0, 0]).temperature() == pytest.approx(20)
    assert histogram([0.9, 0.8], [1, 1]).temperature() == pytest.approx(0.05)
    with pytest.raises(ValueError, match="expected labelled pixels"):
        ConfidenceHistogram().temperature()


def saturated(kind, size=60000):
    """Confidences that crowd at an end of [0, 1], and whether each pixel is right."""
    rng = np.random.default_rng(0)
    margins = {"near 1": np.abs(rng.normal(10, 6, size)), "near 0": -rng.uniform(5, 14, size)}
    margins["at both"] = np.where(rng.random(size) < 0.5, rng.normal(9, 3, size), -8)
    values = 1 / (1 + np.exp(-margins[kind]))
    right = rng.random(size) < 0.2 + 0.7 / (1 + np.exp(-(margins[kind] - margins[kind].mean())))
    return values.astype(np.float32), right


@pytest.mark.parametrize("bins", [15, 600, 3000])
@pytest.mark.parametrize("kind", ["near 1", "near 0", "at both"])
def test_the_area_stays_exact_where_confidences_saturate(kind, bins):
    confidence, correct = saturated(kind)
    groups, at, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    kept, wrong = np.cumsum(counts), np.cumsum(np.bincount(at, ~correct, len(groups)))
    risk = wrong / kept  # equal confidences have no order, so they have one risk
    exact = (counts * (risk + np.concatenate([risk[:1], risk[:-1]])) / 2).sum() / len(confidence)
    ours = ConfidenceHistogram(bins)
    for part in np.array_split(np.arange(len(confidence)), 3):
        one = ConfidenceHistogram(bins)
        one.update(confidence[part], correct[part])
        ours.merge(one)
    assert ours.aurc() == pytest.approx(exact, rel=0.005)
    assert ours.risk_coverage()[0][-1] == 1
    assert len(ours.ends_pixels) < 500  # whatever the number of pixels
