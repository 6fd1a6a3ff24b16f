import numpy as np
import pytest

from stseg.structures import Segmentation, Vocabulary
from stseg.tools.vocabulary import (
    GIVEN,
    everyday_words,
    lone_words,
    measure,
    probe_variants,
    variants,
)

NAMES = Vocabulary.parse("cat, kitten, puss; dog; sky")
# What each word looks like to a model that knows words, as a grey value.
LOOKS = {"cat": 0, "kitten": 4, "puss": 25, "dog": 100, "sky": 200, "cloud": 190, "animal": 50}
PICTURES = {"a.png": [[0, 0, 100], [192, 200, 200]], "b.png": [[3, 100, 100], [20, 200, 200]]}
LABELS = {"a.txt": [[0, 0, 1], [2, 2, 2]], "b.txt": [[0, 1, 1], [-1, 2, 2]]}
RECORDS = [{"file_name": f"{n}.png", "sem_seg_file_name": f"{n}.txt"} for n in "ab"]


class Looker:
    """Answers with the word that looks most like each pixel, less sure the less it does."""

    def set_image(self, path):
        self.picture = np.array(PICTURES[path])

    def predict(self, vocabulary):
        far = [np.abs(self.picture[..., None] - [LOOKS[n] for n in group]).min(axis=-1)
               for group in vocabulary.synonyms]  # fmt: skip
        far = np.stack(far)
        return Segmentation(far.argmin(axis=0), 1 - far.min(axis=0) / 100, vocabulary.names)


def read(path):
    return np.array(LABELS[path])


def rows(asked, reader=read):
    return {row["variant"]: row for row in measure(Looker(), RECORDS, asked, reader)}


def test_words_change_the_score_and_their_order_does_not():
    table = rows(
        variants(NAMES, ["cat", "cloud"], [0, 1], {"hypernyms": {"cat": "animal", "sky": "sky"}})
    )
    given = table[GIVEN]
    assert list(table) == [GIVEN, "permuted", "synonyms beside", "synonyms instead",
                           "0 distractors", "1 distractors", "hypernyms"]  # fmt: skip
    assert given["mIoU"] == 1.0 and given["names"] == 3 and given["changed"] == 0
    for same in ("permuted", "synonyms beside", "0 distractors"):
        assert table[same]["mIoU"] == 1.0 and table[same]["changed"] == 0
    assert table["synonyms beside"]["names"] == 5
    # One of five pixels of the sky looks like a cloud, one of twelve in all.
    assert table["1 distractors"]["mIoU"] == pytest.approx((1 + 1 + 4 / 5) / 3)
    assert table["1 distractors"]["changed"] == pytest.approx(1 / 12)
    assert table["1 distractors"]["stays"] == pytest.approx([1, 1, 4 / 5])
    assert table["1 distractors"]["IoU"] == pytest.approx([1, 1, 4 / 5])
    assert table["1 distractors"]["confidence"] > given["confidence"]


def test_without_further_names_there_are_no_synonyms():
    assert list(variants(Vocabulary.parse("cat; dog"))) == [GIVEN, "permuted"]


def test_a_probe_asks_for_all_synonyms_in_another_order_and_among_others():
    asked = probe_variants(NAMES, ("Kitten", "cloud"))
    assert list(asked) == [GIVEN, "another order", "1 distractors"]
    assert asked[GIVEN].vocabulary == NAMES
    table = rows(asked, None)
    assert table["another order"]["changed"] == 0 and "mIoU" not in table[GIVEN]
    assert table["1 distractors"]["changed"] == pytest.approx(1 / 12)
    assert list(probe_variants(NAMES, ("Kitten",))) == [GIVEN, "another order"]


def test_every_synonym_is_asked_for_alone():
    asked = lone_words(NAMES)
    assert list(asked) == [(0, "cat"), (0, "kitten"), (0, "puss")]
    assert asked[0, "puss"].vocabulary.synonyms == (("puss",), ("dog",), ("sky",))
    table = rows({GIVEN: probe_variants(NAMES, ())[GIVEN], **asked})
    assert table[0, "kitten"]["changed"] == 0
    assert table[0, "kitten"]["confidence"] < table[GIVEN]["confidence"]
    assert not lone_words(Vocabulary.parse("cat, dog; dog"))[0, "cat"].answers[0]
    assert (0, "dog") not in lone_words(Vocabulary.parse("cat, dog; dog"))


def test_a_class_without_pixels_has_no_share():
    table = rows(probe_variants(Vocabulary.parse("cat; dog; sky; cloud, animal"), ()))
    assert table[GIVEN]["stays"][3] is not None  # a cloud it sees
    table = rows(probe_variants(Vocabulary.parse("cat; dog; sky; animal"), ()), read)
    assert table[GIVEN]["stays"][3] is None and table[GIVEN]["IoU"][3] is None


def test_everyday_words_leave_out_what_the_vocabulary_has():
    words = everyday_words(Vocabulary.parse("Trees; sofa, chair"))
    assert "wall" in words and not {"tree", "chair"} & set(words)
