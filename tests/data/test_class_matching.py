"""Which classes are the same thing: rules in order, the shipped lists, the reviewed table."""

from functools import cache

import numpy as np
import pytest

from stseg.data.datasets.class_lists import STYLES, build_vocabulary, load_class_list, load_table
from stseg.data.datasets.class_matching import MATCH_RULES, known_classes, label_translation
from stseg.structures import IGNORE_LABEL, Vocabulary

COCO = build_vocabulary("coco_stuff_171")
known_of, translation_of = cache(known_classes), cache(label_translation)


def matches(source, target):
    """{target name: (source name, rule)} of what is known."""
    source, target = (
        v if isinstance(v, Vocabulary) else Vocabulary.from_names(v, allow_shared_names=True)
        for v in (source, target)
    )
    found = zip(target.names, known_classes(source, target), strict=True)
    return {name: (source.names[m.source], MATCH_RULES[m.rule]) for name, m in found if m}


def test_the_best_rule_names_the_match():
    target = ["a, b", "c, d", "e, f", "sky", "window", "bag", "unheard of"]
    source = ["b, a", "c", "f, g", "sky-other", "windowpane", "handbag"]
    assert matches(source, target) == {
        "a": ("b", "same names"),
        "c": ("c", "same name"),
        "e": ("f", "synonym"),
        "sky": ("sky-other", "table"),
        "window": ("windowpane", "table"),
        "bag": ("handbag", "kind of it"),
    }


def test_a_list_speaks_for_a_vocabulary_that_it_holds_whole():
    # "railroad" is a synonym of PASCAL-Context's "track", by its list only.
    assert matches(COCO, build_vocabulary("pascal_context_59"))["track"][1] == "shipped list"
    assert matches(COCO, ["track", "wall", "rock", "shelves"])["track"][1] == "shipped list"
    assert "track" not in matches(COCO, ["track", "wall", "rock", "a thing of my own"])


def test_the_smallest_list_that_holds_the_names_speaks():
    """VOC's names stand in PASCAL-Context's list, too, whose dining tables are all tables."""
    voc = build_vocabulary("voc_20")
    named = {
        COCO.names[i]: voc.names[k] for i, k in enumerate(label_translation(COCO, voc)) if k >= 0
    }
    assert named["dining table"] == "diningtable"
    assert "table" not in named and "desk-stuff" not in named


def test_names_that_a_list_renames_go_on_matching():
    """The lists of synonyms say "house exterior", "lamp" and "street" for these."""
    found = matches(COCO, build_vocabulary("pascal_context_59"))
    assert {"road", "light", "wood"} <= set(found)
    assert "house" in matches(COCO, build_vocabulary("ade20k_150"))
    styled = matches(
        build_vocabulary("coco_stuff_171_synonyms"), build_vocabulary("ade20k_150_synonyms")
    )
    assert {"house exterior", "building", "windowpane", "wall"} <= set(styled)


def test_a_general_class_is_known_by_its_kinds_but_no_kind_by_the_general_class():
    assert matches(["floor-wood"], ["floor"])["floor"] == ("floor-wood", "kind of it")
    assert matches(["floor"], ["floor-wood"]) == {}
    assert matches(["chair"], ["armchair"]) == {}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("dining table", "plate"),
        ("potted plant", "pot"),
        ("railroad", "road"),
        ("clothes", "person"),
    ],
)
def test_what_a_list_joins_wrongly_is_not_matched(source, target):
    """Each pair shares a word of some list of synonyms."""
    i = COCO.names.index(source)
    for stem in STYLES:
        whole = build_vocabulary(stem)
        for style in (whole, build_vocabulary(STYLES[stem].get("synonyms", stem))):
            if target in whole.names:
                k = whole.names.index(target)
                known = known_of(COCO, style)[k]
                assert known is None or known.source != i
                assert translation_of(COCO, style)[i] != k


def test_a_word_belongs_to_the_class_that_displays_it():
    target = ["dog, domestic dog", "andiron, firedog, dog"]
    assert set(matches(["dog"], target)) == {"dog"}
    translated = label_translation(Vocabulary.from_names(target), Vocabulary.from_names(["dog"]))
    assert translated.tolist() == [0, IGNORE_LABEL]


def test_case_blanks_and_hyphens_do_not_matter():
    found = matches(
        ["Dining  Table", "T-Shirt", "pottedplant"], ["diningtable", "t shirt", "potted plant"]
    )
    assert len(found) == 3


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("ade20k_150", {"sky-other": "sky", "wall-brick": "wall", "wall-concrete": "wall",
                        "building-other": "building", "floor-wood": "floor", "couch": "sofa",
                        "tv": "television receiver", "dining table": "table", "house": "house",
                        "water-other": "water", "sea": "sea", "ground-other": "earth"}),
        ("pascal_context_59", {"airplane": "aeroplane", "couch": "sofa", "tv": "tvmonitor",
                               "dining table": "diningtable", "house": "building", "sea": "water",
                               "pavement": "sidewalk", "railroad": "track"}),
        ("voc_20", {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa"}),
        ("cityscapes_19", {"ceiling-other": None, "railroad": None, "wall-brick": "wall"}),
    ],
)  # fmt: skip
def test_labels_of_coco_stuff_find_their_classes(stem, wanted):
    target = build_vocabulary(stem)
    ids = label_translation(COCO, target)
    named = {n: target.names[i] if i >= 0 else None for n, i in zip(COCO.names, ids, strict=True)}
    assert {name: named[name] for name in wanted} == wanted
    assert ids.dtype == np.int64


def test_every_list_translates_into_itself():
    for stem in STYLES:
        vocabulary = build_vocabulary(stem)
        assert label_translation(vocabulary, vocabulary).tolist() == list(range(len(vocabulary)))
        assert None not in known_classes(vocabulary, vocabulary)


def test_the_table_is_small_has_no_name_twice_and_names_that_lists_have():
    table = load_table("same_things")
    names = [name for group in table["same"] for name in group]
    assert len(names) == len(set(names)) < 120
    known = {
        part.strip().casefold()
        for stem, styles in STYLES.items()
        for entry in (e for s in (stem, *styles.values()) for e in load_class_list(s))
        for part in entry.split(",")
    }
    known |= set(names)
    for general, kinds in table["kinds"].items():
        assert {general, *kinds} <= known
        assert general not in kinds and len(kinds) == len(set(kinds))
    assert all(len(pair) == 2 and set(pair) <= known for pair in table["different"])
