"""The benchmark of several vocabularies on one picture, on tiny models."""

import json

from benchmarks.other_words import ROOT, main
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, register

TINY = f"""
    MODEL.CLIP.NAME {CLIP_NAME} MODEL.SAM.NAME {SAM_NAME} MODEL.STSEG.DEA.NUM_HEADS 4
    MODEL.SEM_SEG_HEAD.HIDDEN_DIM 32 MODEL.SEM_SEG_HEAD.DECODER_DIMS [32,16,16]
    MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS [8,4,4] MODEL.STSEG.IMAGE_SIZE [64,64]
    MODEL.SAM.INPUT_SIZE 64 MODEL.DEVICE cpu
"""


def test_both_sides_are_measured_and_agree(tmp_path, capsys):
    register(tmp_path)
    path = tmp_path / "figures.json"
    config = ROOT / "configs" / "stseg" / "stseg_convnextB_768.yaml"
    size = ["--config-file", str(config), "--names", "2", "5", "--vocabularies", "2"]
    main([*size, "--json", str(path), "--opts", *TINY.split()])
    rows = json.loads(path.read_text())["rows"]
    assert [(row["config"], row["names"]) for row in rows] == [(config.stem, 2), (config.stem, 5)]
    assert all(row["fresh"] > 0 and row["predict"] > 0 for row in rows)
    assert "set_image" in capsys.readouterr().out
