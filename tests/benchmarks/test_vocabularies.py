import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from benchmarks import vocabularies
from benchmarks.vocabulary_variants import GIVEN, measure, variants
from stseg import Vocabulary

NAMES = Vocabulary.parse("cat, kitten, puss; dog; sky")
# What each word looks like to a model that knows words, as a grey value.
LOOKS = {"cat": 0, "kitten": 4, "puss": 25, "dog": 100, "sky": 200, "cloud": 190, "animal": 50}


def predict(path, vocabulary):
    """The word that looks most like each pixel."""
    picture = np.array(PICTURES[path])
    looks = np.array([LOOKS[name] for name in vocabulary.names])
    return np.abs(picture[..., None] - looks).argmin(axis=-1)


PICTURES = {"a.png": [[0, 0, 100], [192, 200, 200]], "b.png": [[3, 100, 100], [20, 200, 200]]}
LABELS = {"a.txt": [[0, 0, 1], [2, 2, 2]], "b.txt": [[0, 1, 1], [-1, 2, 2]]}
RECORDS = [{"file_name": f"{n}.png", "sem_seg_file_name": f"{n}.txt"} for n in "ab"]


def rows(**words):
    asked = variants(NAMES, **words)
    found = measure(predict, RECORDS, asked, lambda path: np.array(LABELS[path]))
    return {row["variant"]: row for row in found}


def test_words_change_the_score_and_their_order_does_not():
    table = rows(
        pool=["cat", "cloud"], counts=[0, 1], tables={"hypernyms": {"cat": "animal", "sky": "sky"}}
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


def test_without_further_names_there_are_no_synonyms():
    assert list(variants(Vocabulary.parse("cat; dog"))) == [GIVEN, "permuted"]


def test_the_command_prints_and_writes_the_table(tmp_path, monkeypatch, capsys):
    class Fake:
        def __init__(self, *_, **__):
            pass

        def __call__(self, path, vocabulary):
            return type("Answer", (), {"label_map": predict(path, vocabulary)})

    monkeypatch.setattr("stseg.predictor.Predictor", Fake)
    monkeypatch.setattr("stseg.data.datasets.dataset_vocabulary", lambda _: NAMES)
    monkeypatch.setattr(DatasetCatalog, "get", lambda _: RECORDS)
    reader = lambda path: np.array(LABELS[path])  # noqa: E731
    monkeypatch.setattr("stseg.data.datasets.dataset_label_reader", lambda _: reader)
    tables = tmp_path / "tables.json"
    tables.write_text(json.dumps({"hypernyms": {"cat": "animal"}}))
    pool = tmp_path / "pool.json"
    pool.write_text(
        json.dumps({"classes": ["cloud, fog", "cloud, mist"]})
    )  # as lists of benchmarks have it
    flags = ["--tables", tables, "--pool", pool, "--distractors", 1, "--images", 1]
    found = vocabularies.main([*map(str, flags), "--json", str(tmp_path / "out" / "a.json")])
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == found
    assert "hypernyms" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        vocabularies.main(["--distractors", "1"])
    assert "words to draw from in --pool" in capsys.readouterr().err
