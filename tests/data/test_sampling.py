import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from stseg.data.sampling import PositionSampler, balance_weights


def _indices(count, **options):
    return [index for _, index in itertools.islice(PositionSampler(**options), count)]


def test_weighted_samples_come_as_often_as_asked_for():
    weights = [1.0, 2.5, 0.0, 1.5]
    counts = Counter(_indices(4000, size=4, seed=0, weights=weights))
    assert [counts[i] / 4000 for i in range(4)] == pytest.approx([0.2, 0.5, 0, 0.3], abs=0.02)


def test_every_order_holds_each_sample_about_its_share_of_times():
    weights = np.random.default_rng(0).random(50) * 3
    wanted = 50 * weights / weights.sum()
    for epoch in range(20):
        indices = _indices(50, size=50, seed=1, start=50 * epoch, weights=weights)
        counts = np.bincount(indices, minlength=50)
        assert (counts >= np.floor(wanted)).all() and (counts <= np.ceil(wanted)).all()


def test_equal_weights_visit_every_sample_once_in_random_order():
    indices = _indices(30, size=10, seed=3, weights=[0.7] * 10)
    assert all(sorted(indices[i : i + 10]) == list(range(10)) for i in (0, 10, 20))
    assert indices[:10] != list(range(10))


def test_a_weighted_stream_can_be_entered_anywhere_and_shared_out():
    options = {"size": 7, "seed": 5, "weights": np.arange(7) + 1.0}
    whole = list(itertools.islice(PositionSampler(**options), 40))
    assert list(itertools.islice(PositionSampler(**options, start=23), 17)) == whole[23:]
    parts = [
        itertools.islice(PositionSampler(**options, start=4, rank=r, world_size=3), 12)
        for r in range(3)
    ]
    assert sorted(itertools.chain(*parts)) == whole[4:]


def test_the_stream_without_weights_stays_the_one_of_earlier_runs():
    expected = [i for e in range(2) for i in np.random.default_rng([9, e]).permutation(6)]
    assert _indices(12, size=6, seed=9) == expected


def test_rounding_never_reaches_a_sample_of_weight_zero():
    sampler = PositionSampler(4, 0, weights=[1, 1, 1, 0])
    largest = SimpleNamespace(random=lambda: np.nextafter(1.0, 0.0))  # 3 + this is 4.0
    assert sampler._resampled(sampler.weights, largest).max() == 2


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="Sample weights: expected"):
        PositionSampler(2, 0, weights=weights)


def test_images_of_rare_classes_repeat_by_the_formula():
    lists = [[0, 1], [0], [0, 0], []]  # class 0 in 3 of 4 images, class 1 in 1 of 4
    assert balance_weights(lists, thresh=1.0) == pytest.approx(
        [2.0, (4 / 3) ** 0.5, (4 / 3) ** 0.5, 1.0]
    )
    assert balance_weights(lists, thresh=0.25).tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="threshold in"):
        balance_weights(lists, thresh=0.0)


def test_balance_weights_agree_with_detectron2():
    from detectron2.data.samplers import RepeatFactorTrainingSampler

    rng = np.random.default_rng(0)
    lists = [rng.choice(12, rng.integers(0, 4), p=np.arange(1, 13) / 78) for _ in range(60)]
    dicts = [{"annotations": [{"category_id": int(c)} for c in classes]} for classes in lists]
    theirs = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(dicts, 0.2)
    assert balance_weights(lists, thresh=0.2) == pytest.approx(theirs.numpy(), rel=1e-6)
