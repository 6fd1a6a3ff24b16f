"""Words that a text tower has read, and what is told of others."""

import torch

from stseg.modeling.text import KnownWords

KNOWN = KnownWords(["cat", "traffic light", "Car"], "words.txt")


def encode(texts):
    """A one for every letter, so that texts of the same letters lie close together."""
    rows = torch.zeros(len(texts), 128)
    for row, text in zip(rows, texts, strict=True):
        for letter in text.casefold():
            row[ord(letter) % 128] += 1
    return torch.nn.functional.normalize(rows)


def test_a_name_is_known_in_any_spelling_with_attributes_and_in_the_plural():
    for name in ("CAT", "red car", "two big cars", "traffic-light", "traffic_light", "cats"):
        assert KNOWN.knows(name), name
    for name in ("light", "catalogue", "car door", ""):
        assert not KNOWN.knows(name), name


def test_of_unknown_names_the_nearest_known_one_is_told_once():
    (note,) = KNOWN.notes(["cat", "act", "act", "scar"], encode)
    assert "3 nouns" in note and "'act' (nearest: 'cat'), 'scar' (nearest: 'Car')" in note
    assert "words.txt" in note and note.count("'act'") == 1
    assert KNOWN.notes(["cat", "red car"], encode) == []


def test_of_many_unknown_names_the_first_are_told_and_the_others_counted():
    (note,) = KNOWN.notes([f"zzz{i}" for i in range(14)], encode)
    assert "'zzz9'" in note and "'zzz10'" not in note and "and 4 more" in note


def test_the_list_lies_beside_the_weights_and_most_weights_have_none(tmp_path):
    (tmp_path / "clip.words.txt").write_text("cat\nhot dog\n", encoding="utf-8")
    (tmp_path / "clip.pt").touch()
    found = KnownWords.of(str(tmp_path / "clip.pt"))
    assert found is not None and found.words == ("cat", "hot dog")
    assert found.file == str(tmp_path / "clip.words.txt")
    for other in ("", "openai", "laion2b_s34b_b88k", "hf-hub:laion/x", "weights://clip-convnextB"):
        assert KnownWords.of(other) is None
    for other in (".", "..", str(tmp_path), str(tmp_path / "none.pt"), "weights://clip-mini"):
        assert KnownWords.of(other) is None
    assert KnownWords.of("stseg://small_world/clip_mini.pt") is None


def test_what_ships_is_known_by_its_name_and_by_its_place():
    by_name, by_place = map(KnownWords.of, ("weights://clip-photo", "stseg://photos/clip_photo.pt"))
    assert by_name.words == by_place.words and by_name.knows("street sign")
