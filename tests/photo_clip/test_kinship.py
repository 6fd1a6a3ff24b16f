"""Words that the classes share with other nouns."""

import torch

from stseg.photo_clip.kinship import Kinship, classes_told_by
from stseg.photo_clip.nouns import Noun

CLASSES = [
    Noun(("collie",), "a dog that herds sheep"),
    Noun(("pug",), "a small dog with a flat face"),
    Noun(("mountain bike",), "a bicycle with a sturdy frame"),
    Noun(("pot",), "a vessel for plants"),
]
OTHERS = [
    Noun(("cyclist", "bicyclist"), "a person who rides a bicycle"),
    Noun(("dog",), "a domestic animal"),
    Noun(("sky",), "the atmosphere seen from the earth"),
]


def test_a_word_tells_of_every_class_whose_texts_use_it_whole():
    told = classes_told_by(CLASSES, ["dog", "bicycle", "bike", "flat face", "a", "cat", "face a"])
    assert told == {"dog": (0, 1), "bicycle": (2,), "bike": (2,), "flat face": (1,)}


def test_names_do_not_run_into_definitions():
    assert "pug a" not in classes_told_by(CLASSES, ["pug a"])


def test_a_noun_is_akin_to_the_classes_whose_rare_words_its_definition_has():
    shares = Kinship(CLASSES, [*CLASSES, *OTHERS]).of(OTHERS)
    assert shares[0].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert shares[1, :2].sum() == 1
    assert torch.equal(shares[2], torch.zeros(4))


def test_rare_words_weigh_more():
    many = [*CLASSES, *[Noun((f"breed {i}",), "a dog") for i in range(20)]]
    both = Noun(("thing",), "a dog on a bicycle")
    shares = Kinship(CLASSES, [*many, both]).of([both])[0]
    assert shares.argmax() == 2
