"""Early rejection measured on the shipped miniature and a few of its scenes."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.rejection import show
from benchmarks.rejection_watch import measure
from stseg import Predictor
from stseg.modeling.heads import cost_decoder
from stseg.small_world.names import CLASS_NAMES
from stseg.small_world.scenes import render
from stseg.tools.vocabulary import with_distractors


def test_what_rejection_saves_and_changes(tmp_path, capsys):
    records = []
    for i in range(2):
        scene = render(3, i)
        files = {"file_name": f"{i}.png", "sem_seg_file_name": f"{i}_label.png"}
        files = {key: str(tmp_path / name) for key, name in files.items()}
        Image.fromarray(scene.image).save(files["file_name"])
        Image.fromarray(scene.label_map.astype(np.uint8)).save(files["sem_seg_file_name"])
        records.append(files)
    choose = cost_decoder.surviving_classes
    predictor = Predictor("configs/mini/stseg_mini.yaml", device="cpu")
    asked = with_distractors(list(CLASS_NAMES), ["piano", "spoon"], 2)
    everything, some, all_kept = measure(
        predictor,
        records,
        asked,
        lambda path: np.array(Image.open(path)).astype(np.int64),
        (0, 1, len(asked.names)),
    )
    assert everything["alive"] == [len(asked.names)] * 3 and everything["changed"] == 0
    assert all_kept["alive"] == everything["alive"]
    assert all_kept["mIoU"] == pytest.approx(everything["mIoU"], abs=1e-3)
    assert len(asked.names) > some["alive"][0] >= some["alive"][1] >= some["alive"][2] >= 1
    assert some["mIoU"] > 0.3
    assert cost_decoder.surviving_classes is choose
    assert "forward" not in vars(predictor.model.head)
    assert predictor.model.head.rejection_topk == 0
    show([everything, some])
    assert "pixels changed" in capsys.readouterr().out
