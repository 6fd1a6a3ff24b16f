"""Names as people type, paste and save them: what is taken, what is refused, what is remarked."""

import json
import unicodedata

import pytest

from stseg.structures import Vocabulary

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "text",
    [
        "names.csv",
        "my names.csv",
        "classes.names",
        "photos/",
        "./names",
        "../lists/cats",
        "/data/names",
        "~/names",
        r"C:\lists\names",
        "photo.jpg",
        '["cat", "dog"]',
        "['cat', 'dog']",
        '{"classes": ["cat"]}',
        '[\n"cat"\n]',
    ],
)
def test_text_that_can_be_no_words_is_refused(text):
    with pytest.raises(ValueError, match=r"^Vocabulary: expected words such as .*\.txt"):
        Vocabulary.parse(text)


@pytest.mark.parametrize("text", ["St. Bernard", "cat/kitten", "a.m.", "wall-brick", "U.S.", "3"])
def test_words_with_signs_are_words(text):
    assert Vocabulary.parse(text).names == (text,)


def test_a_file_of_another_kind_is_refused_by_its_path(tmp_path):
    (tmp_path / "names").write_text("cat\n")
    (tmp_path / "names.csv").write_text("0,cat\n")
    (tmp_path / "names.json").mkdir()
    for path in ("names", "names.csv", "."):
        for given in (tmp_path / path, str(tmp_path / path)):
            with pytest.raises(ValueError, match=r"Vocabulary: expected .*\.json"):
                Vocabulary.parse(given)
    with pytest.raises(ValueError, match="got the folder"):
        Vocabulary.parse(tmp_path / "names.json")


@pytest.mark.parametrize(
    "raw, looks_like",
    [
        ("猫\n狗\n".encode("gbk"), "GBK"),
        ("猫\n狗\n".encode("utf-16"), "UTF-16"),
        ("cat\ndog\n".encode("utf-16-le"), "UTF-16"),
        ("cat\ndog\n".encode("utf-16-be"), "UTF-16"),
        ("cat\n".encode("utf-32"), "UTF-32"),
        ("café\ntrain\n".encode("cp1252"), "Latin-1"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe", "no text"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_another_encoding_is_named_with_the_cure(tmp_path, raw, looks_like, suffix):
    path = tmp_path / f"names{suffix}"
    path.write_bytes(raw)
    with pytest.raises(
        ValueError, match=rf"UTF-8, got '.*names.*' *, which looks like {looks_like}"
    ):
        Vocabulary.parse(path)


@pytest.mark.parametrize("content", ["", "[" * 100_000, '{"classes": [[["a"]]]}', "null", "3"])
def test_json_of_another_shape_is_named(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"Vocabulary.*names\.json"):
        Vocabulary.parse(path)


@pytest.mark.parametrize(
    "first, second",
    [
        (NFC, NFD),
        ("traffic light", "traffic\u2028light"),
        ("traffic light", "traffic\u00a0light"),
        ("traffic light", "traffic\u200b light"),
        ("cat", "\u202acat\u202c"),
        ("cat", "ｃａｔ"),
        ("straße", "STRASSE"),
    ],
)
def test_spellings_that_look_alike_are_one_name(tmp_path, first, second):
    for text in (f"{first}; {second}", [first, second], f"{first}, {second}"):
        with pytest.raises(ValueError, match="expected (a name of its own|different synonyms)"):
            Vocabulary.parse(text)
    path = tmp_path / "names.txt"
    path.write_text(f"{first}\n{second}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="class 2"):
        Vocabulary.parse(path)
    assert Vocabulary.parse([first, "x"]).with_seen([second]).seen == (True, False)


def test_names_come_out_as_they_look():
    assert Vocabulary.parse([NFD, "traffic\u2028light", "\ufeffdog\u200b"]).names == (
        NFC,
        "traffic light",
        "dog",
    )


def test_a_separator_of_lines_that_editors_do_not_show_parts_no_classes(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("a\u2028b\r\nc\x0bd\re".encode())
    assert Vocabulary.parse(path).names == ("a b", "c d", "e")


@pytest.mark.parametrize("text", ["a; b;", "a;\nb;", "a; b; \n", "a\r\nb\r\n"])
def test_a_semicolon_at_the_end_parts_nothing(text):
    assert Vocabulary.parse(text).names == ("a", "b")


@pytest.mark.parametrize("source", ["dogg", "cat; cow", ["kitten", "x"], "cat, dgo"])
def test_a_choice_out_of_the_classes_has_no_strangers(source):
    vocabulary = Vocabulary.parse("cat, kitten; dog")
    with pytest.raises(ValueError, match=r"--seen: expected names out of the 2 classes, got '"):
        vocabulary.chosen(source, "--seen")
    with pytest.raises(ValueError, match=r"Did you mean dog\?"):
        vocabulary.chosen("dogg", "--seen")
    assert vocabulary.chosen("KITTEN", "--seen") == (True, False)


def test_a_list_that_ships_may_have_more_classes():
    vocabulary = Vocabulary.parse("cat; star-shaped thing")
    assert vocabulary.chosen("vocab:coco_stuff_171", "--seen") == (True, False)
    with pytest.raises(ValueError, match="--seen"):
        vocabulary.chosen("vocab:cityscapes_19", "--seen")


@pytest.mark.parametrize("content", [{"seen": ["a", "x"]}, {"seen": "x"}, {"rest": "x"}])
def test_a_names_file_speaks_of_its_own_classes_only(tmp_path, content):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"classes": ["a", "b"], **content}))
    with pytest.raises(ValueError, match=r"got .x'.*names\.json"):
        Vocabulary.parse(path)


@pytest.mark.parametrize(
    "text",
    [
        "cat. dog.",
        "cat . dog .",
        "cat | dog",
        "cat / dog",
        "cat，dog",
        "cat；dog",
        "cat、dog",
        "cat, dog",
    ]
    + ["cat | dog; sky", "cat • dog", "cat + dog", "cat & dog"],
)
def test_one_name_that_looks_like_several_is_remarked(text):
    assert any("ONE" in note for note in Vocabulary.parse(text).notes())


def test_nothing_is_remarked_about_plain_lists():
    for text in ("cat", "cat; dog, puppy", "St. Bernard; Mt. Everest", "vocab:coco_stuff_171"):
        assert not Vocabulary.parse(text).notes()


def test_many_odd_names_give_few_remarks():
    assert len(Vocabulary.parse([f"a{i}/b" for i in range(50)]).notes()) == 6
