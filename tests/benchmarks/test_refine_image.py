"""The benchmark of what SAM sees, on a tiny model and folder."""

import json

import numpy as np
import pytest

from benchmarks.refine_image import SIDES, class_ious, main
from tests.helpers.tiny_data import write_folder
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, register


def test_ious_are_over_what_is_known():
    found = np.array([[0, 0, 1, -1]], np.int32)
    truth = np.array([[0, 1, -1, 1]], np.int32)
    assert class_ious(found, truth) == [0.5]
    assert class_ious(truth, truth) == [1.0, 1.0]


@pytest.mark.usefixtures("clean_catalog")
def test_every_side_is_measured_on_the_same_images(tmp_path, capsys):
    register(tmp_path)
    write_folder(tmp_path / "set", count=2)
    tiny = f"""
        MODEL.CLIP.NAME {CLIP_NAME} MODEL.SAM.NAME {SAM_NAME} MODEL.STSEG.DEA.NUM_HEADS 4
        MODEL.CLIP.PRETRAINED random MODEL.SAM.CHECKPOINT random MODEL.SAM.INPUT_SIZE 64
        MODEL.SEM_SEG_HEAD.HIDDEN_DIM 32 MODEL.SEM_SEG_HEAD.DECODER_DIMS [32,16,16]
        MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS [8,4,4] MODEL.STSEG.IMAGE_SIZE [64,64]
        MODEL.TEXT.CACHE_DIR {tmp_path} SELF_TRAINING.GATE.THRESH 0.0 MODEL.DEVICE cpu
        INPUT.MIN_SIZE_TEST 0 DATALOADER.NUM_WORKERS 0
    """
    path = tmp_path / "figures.json"
    flags = ["--config-file", "configs/stseg/stseg_convnextB_768.yaml", "--weights", "random"]
    flags += ["--data", f"mine=folder:{tmp_path / 'set'}", "--images", "2", "--json", str(path)]
    main([*flags, "--opts", *tiny.split()])
    rows = json.loads(path.read_text())["rows"]
    assert [row["side"] for row in rows] == list(SIDES)
    assert all(row["masks"] and row["cpu_seconds"] > 0 for row in rows)
    assert "labelled %" in capsys.readouterr().out
