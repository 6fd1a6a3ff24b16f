import json

import pytest

from stseg.structures import Vocabulary, shipped_lists
from stseg.tools import NOTE, WRONG
from stseg.tools.vocabulary import lint, unglued


def of(source, subject):
    """Statuses and texts of one subject."""
    return [(seen.status, seen.text) for seen in lint(source) if seen.subject == subject]


@pytest.mark.parametrize(
    "names",
    [
        "cat; dog; Cat",
        "traffic light; traffic-light",
        "cat; a cat",
        "tv; t\u200bv",
        "car; c\uff41r",
    ],
)
def test_two_classes_of_one_name_are_wrong(names):
    ((status, text),) = of(names, "duplicate")
    assert status == WRONG and "class 1" in text


def test_a_list_may_allow_shared_names(tmp_path):
    path = tmp_path / "names.json"
    entries = ["bag, purse", "bag, sack"]
    path.write_text(json.dumps(entries))
    assert of(path, "duplicate")[0][0] == WRONG
    path.write_text(json.dumps({"classes": entries, "allow_shared_names": True}))
    assert of(path, "duplicate")[0][0] == NOTE


def test_names_twice_in_a_class():
    assert of("cat, Cat; dog", "duplicate")[0][0] == WRONG
    assert of("ash bin, ash-bin; dog", "duplicate")[0][0] == NOTE


def test_a_synonym_in_two_classes_and_plurals_are_notes():
    assert of("sofa, bench; seat, bench", "shared") == [
        (NOTE, "'bench' stands in class 1 ('sofa') and class 2 ('seat')")
    ]
    assert of("cups; cup; glass", "plural") == [
        (NOTE, "class 1 ('cups') and class 2 ('cup') differ in number alone")
    ]
    assert not of("bed, beds; chair", "plural")  # synonyms may well be plurals


@pytest.mark.parametrize("names", ["cat;; dog", "cat;;", "cat,; dog", ""])
def test_empty_names_are_wrong_with_their_place(names):
    assert of(names, "empty")[0][0] == WRONG
    with pytest.raises(ValueError):
        Vocabulary.parse(names)


@pytest.mark.parametrize("content", ["[3]", '[["a", 3]]', '["a", []]', '["a", null]'])
def test_entries_that_are_no_text_are_wrong(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(content)
    assert [seen.status for seen in lint(path)] == [WRONG]


@pytest.mark.parametrize("content", ["{", '{"names": []}', '"cat"'])
def test_what_is_no_list_is_refused(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected"):
        lint(path)


def test_what_else_parse_refuses_is_wrong(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"classes": ["a1", "b1"], "templates": ["my {}"]}')
    assert "MODEL.TEXT.TEMPLATES" in of(path, "refused")[0][1]


@pytest.mark.parametrize(
    ("name", "subject"),
    [("cat|dog", "separator"), ("cat；dog", "separator"), ("cat/dog", "separator"),
     ("tennis_court", "separator"), ("cat.", "separator"), ("a cat", "article"), ("12", "number"),
     ("trafficlight", "glued"), ("c\u200bat", "hidden")],
)  # fmt: skip
def test_unlucky_spellings_are_notes(name, subject):
    assert [(seen.status, seen.subject) for seen in lint(f"{name}; sky")] == [(NOTE, subject)]


def test_a_comma_inside_a_name_of_a_json_list(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('[["cat, kitten"], ["sky"]]')
    assert "holds ','" in of(path, "separator")[0][1]


def test_synonyms_that_look_like_classes():
    assert of("cat, dog, sky, tree", "one class")
    assert not of("cat, kitten; dog, puppy, hound; sky", "one class")


@pytest.mark.parametrize(
    ("name", "apart"),
    [("airconditioner", "air conditioner"), ("parkingmeter", "parking meter"),
     ("old shoppingcart", "old shopping cart"), ("electriciron", "electric iron")],
)  # fmt: skip
def test_glued_words_come_apart(name, apart):
    assert unglued(name) == apart


@pytest.mark.parametrize(
    "name", ["keyboard", "skateboard", "windscreen", "lighthouse", "sheepdog", "snowboard", "cat"]
)
def test_words_that_are_written_in_one_stay(name):
    assert unglued(name) == ""


def test_lists_that_ship_can_be_used_and_the_small_world_is_clean():
    found = {name: lint(f"vocab:{name}") for name in shipped_lists()}
    assert not [seen for name in found for seen in found[name] if seen.status == WRONG]
    assert not found["small_world"] and not found["coco_stuff_171"]
    glued = [seen for seen in found["pascal_context_459"] if seen.subject == "glued"]
    spaced = [seen for seen in found["pascal_context_459_spaced"] if seen.subject == "glued"]
    assert len(glued) > 80 and len(spaced) < 5
