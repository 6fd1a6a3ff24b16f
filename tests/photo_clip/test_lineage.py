"""What nouns are kinds of, by their names and definitions."""

import pytest

from stseg.photo_clip.lineage import Lineage, classes_by_kind
from stseg.photo_clip.nouns import Noun, load_nouns

NOUNS = [
    Noun(("animal", "beast"), "a living organism that moves"),
    Noun(("dog", "domestic dog"), "a domestic animal that was kept since old times"),
    Noun(("hound",), "any of several breeds of dog used for hunting"),
    Noun(("retriever",), "a dog with heavy water-resistant coat"),
    Noun(("terrier",), "any of several usually small short-bodied breeds originally trained"),
    Noun(("car", "auto", "machine"), "a motor vehicle with four wheels"),
    Noun(("machine",), "any mechanical device that moves things"),
    Noun(("sparrow",), "small birds of the northern hemisphere"),
    Noun(("bird",), "warm-blooded egg-laying animal having feathers"),
]
lineage = Lineage(NOUNS)


@pytest.mark.parametrize(
    ("noun", "kinds"),
    [
        (Noun(("golden retriever",), "an English breed with a golden coat"), "retriever dog"),
        (Noun(("beagle",), "a small short-legged hound"), "hound dog animal"),
        (Noun(("Airedale",), "breed of wiry-coated terrier"), "terrier dog"),
        (Noun(("robin",), "small birds, known from songs"), "bird animal beast"),
        (Noun(("convertible",), "a car that has a top that can be folded"), "car auto machine"),
    ],
)
def test_names_end_and_definitions_begin_with_what_a_noun_is(noun, kinds):
    found = lineage.of(noun)
    assert set(kinds.split()) <= found
    assert noun.names[0].lower() in found


def test_a_word_of_several_meanings_is_the_one_that_it_names_first():
    assert "car" not in lineage.of(Noun(("abacus",), "a machine that counts"))


def test_what_a_thing_is_used_for_is_no_kind_of_it():
    found = lineage.of(Noun(("leash",), "restraint consisting of a rope for a dog"))
    assert "dog" not in found


def test_the_classes_of_imagenet_are_gathered_by_kind():
    classes = load_nouns("imagenet-1k")
    found = classes_by_kind(classes, load_nouns("imagenet-22k"))
    dogs = set(found["dog"])
    assert len(dogs & set(range(151, 269))) > 100  # of the 118 breeds
    assert len(dogs - set(range(151, 269))) < 10
    assert {classes[k].names[0] for k in found["snake"]} >= {"king snake", "green mamba"}
    assert found["tench"] == (0,)
