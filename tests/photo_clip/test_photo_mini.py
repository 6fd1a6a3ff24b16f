"""The model for photographs that ships: what it finds, and what it says of itself."""

import numpy as np
import pytest

from benchmarks.photo_regions import PHOTOS, measure, read_regions, words_of
from stseg import Predictor

pytestmark = pytest.mark.usefixtures("photos_extra")


@pytest.fixture(scope="module")
def predictor():
    return Predictor("photo_mini", device="cpu")


def test_most_things_of_a_photograph_are_found_where_they_are(predictor):
    regions = read_regions(PHOTOS)
    kept = {file: regions[file] for file in ("city_street_cars.jpg", "dogs_service.jpg")}
    shares = [row["share"] for row in measure(predictor, PHOTOS, kept, words_of(regions))]
    assert len(shares) == 4 and np.mean(shares) > 0.6  # of 14 words


def test_a_threshold_leaves_most_of_what_has_no_name_unknown(predictor):
    from stseg import Background, Vocabulary

    words = Vocabulary.parse("cat", background=Background.threshold(0.5))
    answer = predictor(PHOTOS / "cat_chelsea.jpg", words)
    others = predictor(PHOTOS / "city_street_cars.jpg", words)
    assert answer["cat"].mean() > 0.2 > 0.05 > others["cat"].mean()


def test_it_is_asked_for_by_name_like_all_weights_of_the_table(predictor):
    again = Predictor.from_pretrained("photo-mini", device="cpu")
    picture = PHOTOS / "cat_chelsea.jpg"
    assert np.array_equal(
        again(picture, "cat; cup").label_map, predictor(picture, "cat; cup").label_map
    )


def test_words_that_it_does_not_know_are_told_once_and_those_it_knows_are_not(predictor, caplog):
    from stseg.structures import Vocabulary

    assert predictor.notes(Vocabulary.parse("cat; red car; street sign")) == []
    both = Vocabulary.from_names(
        [["cat", "pet"], ["dog", "pet"], ["pavement"]], allow_shared_names=True
    )
    shared, unknown = predictor.notes(both)
    assert "'pet'" in shared and "'pavement'" in unknown
    for _ in range(2):
        predictor(np.zeros((32, 32, 3), np.uint8), "cat; pavement")
    assert caplog.text.count("'pavement' (nearest: ") == 1


def test_a_word_that_training_had_masks_of_is_known(predictor, monkeypatch):
    from stseg.checkpoint import WeightFacts
    from stseg.structures import Vocabulary

    facts = WeightFacts(trained_on=(("pavement", "walkway"), ("cat",)))
    monkeypatch.setattr(predictor.model, "facts", facts)
    assert predictor.notes(Vocabulary.parse("walkway; cat; street sign")) == []
    (note,) = predictor.notes(Vocabulary.parse("pavement; pedestrian"))
    assert "'pedestrian'" in note and "'pavement'" not in note
