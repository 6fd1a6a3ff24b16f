import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stseg.structures import Background, Segmentation, Vocabulary

NAME = st.text(alphabet="abcdefgh éλ", min_size=1, max_size=8).filter(lambda s: s.strip())


def test_commas_are_synonyms_and_semicolons_are_classes():
    vocabulary = Vocabulary.parse(" cat,  kitten ; dog; traffic   light")
    assert vocabulary.names == ("cat", "dog", "traffic light")
    assert vocabulary.synonyms == (("cat", "kitten"), ("dog",), ("traffic light",))


@settings(max_examples=50, deadline=None)
@given(st.lists(NAME, min_size=1, max_size=9, unique_by=lambda s: " ".join(s.split()).casefold()))
def test_order_is_kept_for_any_list_and_text_says_the_same(names):
    by_list, by_text = Vocabulary.parse(names), Vocabulary.parse(";".join(names))
    assert by_list.names == tuple(" ".join(n.split()) for n in names)
    assert by_text == by_list
    assert pickle.loads(pickle.dumps(by_list)) == by_list


@pytest.mark.parametrize(
    "source, says",
    [
        ("", "at least one class"),
        ("  \n ", "at least one class"),
        ([], "at least one class"),
        ("cat;;dog", "class 2"),
        ("cat;;", "class 2"),
        (";", "class 1"),
        ("cat, ,kitten; dog", "class 1 \\('cat, ,kitten'\\)"),
        (["cat", ""], "class 2"),
        (["cat", []], "class 2"),
        ("cat; dog; CAT", "class 3.*'CAT'.*class 1"),
        ("cat, Cat", "class 1.*'Cat' twice"),
    ],
)
def test_empty_and_repeated_names_are_errors_that_name_the_entry(source, says):
    with pytest.raises(ValueError, match=says):
        Vocabulary.parse(source)


@pytest.mark.parametrize("source", [5, None, ["cat", 5], ["cat", ["x", 5]], {"cat": 1}])
def test_other_types_are_refused(source):
    with pytest.raises(TypeError, match="Vocabulary"):
        Vocabulary.parse(source)


def test_text_file_has_one_class_a_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeff# my classes\ncat, kitten\r\n\n dog\n#no\n", encoding="utf-8")
    assert Vocabulary.parse(str(path)).synonyms == (("cat", "kitten"), ("dog",))
    assert Vocabulary.parse(path).names == ("cat", "dog")


def test_json_file_may_be_a_list_or_an_object(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps(["a, b", ["c", "d"]]))
    assert Vocabulary.parse(str(path)).synonyms == (("a", "b"), ("c", "d"))
    content = {"classes": ["a", "c"], "seen": ["C"], "ignore": 255}
    path.write_text(json.dumps(content))
    assert Vocabulary.parse(path).seen == (False, True)


def test_templates_in_a_file_are_refused_as_the_models_own(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"classes": ["a"], "templates": ["my {}"]}))
    with pytest.raises(ValueError, match=r"MODEL.TEXT.TEMPLATES.*names\.json"):
        Vocabulary.parse(path)


@pytest.mark.parametrize("content", ["{", '{"names": []}', "[]", '["a", "a"]', '{"classes": 3}'])
def test_bad_file_is_named(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="bad.json"):
        Vocabulary.parse(path)


@pytest.mark.parametrize("path", ["nowhere/names.txt", "names.JSON"])
def test_missing_file_is_not_taken_for_a_class_name(path):
    with pytest.raises(FileNotFoundError, match="names"):
        Vocabulary.parse(path)


def test_seen_marks_go_by_any_name_and_ignore_case():
    vocabulary = Vocabulary.parse("cat, kitten; dog; cow")
    assert vocabulary.seen is None
    assert vocabulary.with_seen(["Kitten", "DOG"]).seen == (True, True, False)
    assert vocabulary.with_seen(Vocabulary.parse("cow")).seen == (False, False, True)


def test_key_follows_names_and_order_only():
    vocabulary = Vocabulary.parse("cat, kitten; dog")
    assert vocabulary.key == Vocabulary.parse([["cat", "kitten"], "dog"]).key
    assert vocabulary.key == vocabulary.with_seen(["dog"]).key
    others = [
        Vocabulary.parse("dog; cat, kitten"),
        Vocabulary.parse("cat; kitten; dog"),
    ]
    assert len({v.key for v in [vocabulary, *others]}) == 3


def test_classes_that_share_a_name_need_a_word_from_the_caller(tmp_path):
    entries = ["bag", "bag, handbag", "purse, handbag"]
    with pytest.raises(ValueError, match="allow_shared_names"):
        Vocabulary.from_names(entries)
    vocabulary = Vocabulary.from_names(entries, allow_shared_names=True)
    assert vocabulary.shared_synonyms() == [("bag", ("bag", "bag")), ("handbag", ("bag", "purse"))]
    with pytest.raises(ValueError, match="class 2"):
        Vocabulary.from_names(["bag, case", "case, bag"], allow_shared_names=True)
    path = tmp_path / "v.json"
    path.write_text(json.dumps({"classes": entries, "allow_shared_names": True}))
    assert Vocabulary.parse(path) == vocabulary


def test_benchmark_lists_are_legal(shared_dir):
    for name, count in [("ade20k_847", 847), ("coco_stuff_171", 171), ("pascal_context_459", 459)]:
        path = shared_dir / "data" / "vocab" / f"{name}.json"
        assert len(Vocabulary.parse(path, allow_shared_names=True)) == count


def test_background_policies_are_read_from_the_command_line_form():
    assert Background.parse("none") == Background()
    assert Background.parse("threshold=0.3") == Background.threshold(0.3)
    assert Background.parse("distractors=sky; wall, fence").names == ("sky", "wall", "fence")


@pytest.mark.parametrize(
    "text", ["threshold", "threshold=2", "threshold=0", "threshold=nan", "distractors=", "x", ""]
)
def test_wrong_background_is_refused(text):
    with pytest.raises(ValueError):
        Background.parse(text)


def test_distractor_that_is_a_class_is_refused():
    with pytest.raises(ValueError, match="'Kitten'"):
        Vocabulary.parse("cat, kitten", background=Background.distractors("Kitten"))


def test_segmentation_checks_its_maps():
    labels = np.array([[0, -1], [1, 1]], dtype=np.int64)
    result = Segmentation(labels, np.ones((2, 2)), ("a", "b"))
    assert result.label_map.dtype == np.int32 and result.confidence.dtype == np.float32
    with pytest.raises(ValueError, match="one shape"):
        Segmentation(labels, np.ones((2, 3)), ("a", "b"))
    with pytest.raises(ValueError, match=r"\[-1, 0\]"):
        Segmentation(labels, np.ones((2, 2)), ("a",))


def test_one_class_may_have_no_words(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"classes": ["sky", "background", "cat"], "rest": "background"}')
    vocabulary = Vocabulary.parse(path)
    assert vocabulary.rest == 1 and vocabulary.names[1] == "background"
    plain = Vocabulary.parse("sky; background; cat")
    assert plain.rest is None and plain.key != vocabulary.key
    path.write_text('{"classes": ["sky", "cat"], "rest": "dog"}')
    with pytest.raises(ValueError, match=r"rest: expected a class, got 'dog'.*names\.json"):
        Vocabulary.parse(path)


@pytest.mark.parametrize(("names", "rest"), [("sky", 0), ("sky; cat", 2), ("sky; cat", -1)])
def test_a_class_without_words_is_one_beside_others(names, rest):
    with pytest.raises(ValueError, match=f"rest: expected one of .* got number {rest}"):
        replace(Vocabulary.parse(names), rest=rest)
