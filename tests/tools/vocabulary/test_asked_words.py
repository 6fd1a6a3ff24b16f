"""Other words for the classes of a data set lead back to the classes."""

import numpy as np
import pytest

from stseg.evaluation import ConfusionMatrix
from stseg.tools.vocabulary import permuted, renamed, with_distractors, with_synonyms

NAMES = ("couch", "sky", "dog", "tree")


def score(variant, prediction, label):
    matrix = ConfusionMatrix(variant.num_classes)
    matrix.update(variant.restore(prediction), label)
    return matrix.summary()


def test_another_order_of_names_changes_no_score():
    rng = np.random.default_rng(0)
    scores, label = rng.random((4, 20, 30)), rng.integers(0, 4, (20, 30))
    plain = ConfusionMatrix(4)
    plain.update(scores.argmax(axis=0), label)
    moved = 0
    for seed in range(5):
        variant = permuted(NAMES, seed)
        moved += variant.names != NAMES
        asked = scores[[NAMES.index(name) for name in variant.names]]
        assert score(variant, asked.argmax(axis=0), label) == plain.summary()
    assert moved


def test_answers_to_synonyms_count_for_the_class():
    variant = with_synonyms(NAMES, {"couch": ["sofa", "Sky", "settee"], "dog": ["sofa", "puppy"]})
    assert variant.names == (*NAMES, "sofa", "settee", "puppy")
    assert variant.restore(np.arange(7)).tolist() == [0, 1, 2, 3, 0, 0, 2]
    assert variant.num_classes == 4


def test_renamed_classes_keep_their_ids_and_merge_where_words_meet():
    variant = renamed(NAMES, {"couch": "furniture", "dog": "animal"})
    assert variant.names == ("furniture", "sky", "animal", "tree")
    assert variant.restore(np.arange(4)).tolist() == [0, 1, 2, 3]
    variant = renamed(NAMES, {"couch": "thing", "dog": "Thing"})
    assert variant.names == ("thing", "sky", "tree") and variant.answers.tolist() == [0, 1, 3]
    variant = renamed(NAMES, {"couch": "dog"})
    assert variant.names == NAMES[1:] and variant.answers.tolist() == [1, 2, 3]
    assert renamed(("bag", "bag"), {}).answers.tolist() == [0, 1]


def test_answers_to_distractors_are_wrong_and_of_no_class():
    variant = with_distractors(NAMES, ["car", "Dog", "boat", "car", "road"], 3)
    assert variant.names[:4] == NAMES and sorted(variant.names[4:]) == ["boat", "car", "road"]
    assert variant.num_classes == 5
    label = np.array([0, 0, 1, 1])
    assert score(variant, np.array([0, 0, 1, 1]), label)["mIoU_gt"] == 1
    assert score(variant, np.array([0, 0, 1, 6]), label)["mIoU_gt"] == pytest.approx(0.75)


def test_more_distractors_only_add():
    pool = [f"word {i}" for i in range(50)]
    few, many = (with_distractors(NAMES, pool, count, seed=3).names for count in (5, 20))
    assert many[: len(few)] == few
    none = with_distractors(NAMES, pool, 0)
    assert none.names == NAMES and none.num_classes == 4
    assert with_distractors(NAMES, pool, 5, seed=4).names != few


def test_faulty_variants_are_refused():
    with pytest.raises(ValueError, match="at most 1 from this pool, got 2"):
        with_distractors(NAMES, ["car", "sky"], 2)
    for make, others in ((renamed, {"cat": "pet"}), (with_synonyms, {"cat": ["pet"]})):
        with pytest.raises(ValueError, match="names of the data set, got 'cat'"):
            make(NAMES, others)
    with pytest.raises(ValueError, match=r"ids in \[0, 3\], got 0 to 4"):
        permuted(NAMES).restore(np.array([0, 4]))
    with pytest.raises(ValueError, match=r"ids in \[0, 3\], got -1 to 0"):
        permuted(NAMES).restore(np.array([0, -1]))
