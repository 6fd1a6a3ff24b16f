"""The benchmark of SAM's kept embeddings, on tiny models."""

import json

import pytest

from benchmarks.sam_features import main
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, register

TINY = """
    MODEL.CLIP.NAME {clip} MODEL.SAM.NAME {sam} MODEL.STSEG.DEA.NUM_HEADS 4
    MODEL.SEM_SEG_HEAD.HIDDEN_DIM 32 MODEL.SEM_SEG_HEAD.DECODER_DIMS [32,16,16]
    MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS [8,4,4]
"""


def test_it_reports_every_way_and_that_they_agree(tmp_path, capsys):
    register(tmp_path)
    path = tmp_path / "figures.json"
    sizes = ["--names", "3", "--image-size", "64", "--sam-size", "64"]
    main([*sizes, "--json", str(path), *TINY.format(clip=CLIP_NAME, sam=SAM_NAME).split()])
    report = json.loads(path.read_text())
    assert {"computed", "computed and written", "read"} <= set(report["encoder_s"])
    assert set(report["prediction_s"]) == {"computed", "read"}
    assert report["equal"] and report["mib_per_image"] > 0
    assert "Read equals computed: yes" in capsys.readouterr().out


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.sam_features --images 1" in capsys.readouterr().out
