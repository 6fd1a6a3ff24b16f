"""The benchmark of towers, on small ones."""

import json

import pytest

from benchmarks.towers import main
from tests.helpers.tiny_model import VIT_NAME, register


def test_it_shows_what_towers_give_and_who_is_refused(tmp_path, capsys):
    register(tmp_path)
    names = ["convnext_mini", VIT_NAME, "vit_relpos_medium_patch16_cls_224"]
    path = tmp_path / "towers.json"
    main(["--names", *names, "--listed-only", "--repeats", "1", "--json", str(path)])
    mini, vit, refused = json.loads(path.read_text())["rows"]
    assert mini["shapes"]["dense"] == [96, 16] and mini["size"] == [256, 320]
    assert vit["finite"] and vit["seconds"] > 0 and vit["prompts"] == "tree"
    assert set(refused) == {"name", "refused"}
    shown = capsys.readouterr().out
    assert "16/2, 32/4, 96/8, 192/16" in shown
    assert "VisionTransformerRelPos" in shown


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.towers --threads 1" in capsys.readouterr().out
