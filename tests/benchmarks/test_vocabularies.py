import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from benchmarks import vocabularies
from tests.tools.vocabulary.test_moved_answers import LABELS, NAMES, RECORDS, Looker


def test_the_command_prints_and_writes_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stseg.predictor.Predictor", lambda *_, **__: Looker())
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
