"""Systems that this project does not know, through the real commands."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from stseg.engine import train_command
from stseg.evaluation import read_result
from stseg.predictor import Predictor
from stseg.tools.export import export_weights
from stseg.tools.prediction import prediction_command
from tests.helpers.systems import CaptionFake, QueryFake, WindowFake
from tests.helpers.tiny_data import NAMES, write_folder

pytestmark = pytest.mark.usefixtures("clean_catalog")
SYSTEMS = [QueryFake, CaptionFake, WindowFake]


@pytest.fixture(params=SYSTEMS, ids=lambda kind: kind.__name__)
def command(request, tmp_path, monkeypatch):
    """Runs train_net.py with keys; returns OUTPUT_DIR."""
    folder = ["mine", *write_folder(tmp_path / "set", count=4)]
    keys = {
        "MODEL.META_ARCHITECTURE": request.param.__name__,
        "DATASETS.FOLDERS": [folder],
        "DATASETS.TRAIN": ("mine",),
        "DATASETS.TEST": ("mine",),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 4,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "INPUT.CROP.SIZE": [40, 40],
        "INPUT.MIN_SIZE_TRAIN": (40,),
        "INPUT.MIN_SIZE_TEST": 40,
        "TEST.PICTURES": 0,
    }

    def run(name, flags=(), **more):
        output = tmp_path / name
        asked = {**keys, **{k.replace("__", "."): v for k, v in more.items()}}
        words = [str(part) for pair in asked.items() for part in pair]
        argv = ["train_net.py", "--num-gpus", "0", *flags, *words, "OUTPUT_DIR", str(output)]
        monkeypatch.setattr("sys.argv", argv)
        train_command()
        return output

    return run


def same_weights(one, two):
    one, two = (torch.load(p, weights_only=True)["model"] for p in (one, two))
    return one.keys() == two.keys() and all(torch.equal(v, two[k]) for k, v in one.items())


def figures(folder):
    return read_result(folder / "results.json", "mine").figures


def test_a_system_of_its_own_goes_through_every_command(command, tmp_path, capsys):
    whole = command("whole")
    shutil.copytree(whole, tmp_path / "part")
    (tmp_path / "part" / "last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "part" / "model_final.pth").unlink()
    resumed = command("part", ["--resume"])
    assert same_weights(whole / "model_final.pth", resumed / "model_final.pth")

    final = str(whole / "model_final.pth")
    assert figures(command("eval", ["--eval-only"], MODEL__WEIGHTS=final)) == figures(whole)

    adapted = command(
        "adapted",
        ["--images", str(tmp_path / "set" / "images"), "--vocabulary", "; ".join(NAMES)],
        MODEL__WEIGHTS=final,
        MODEL__LOSS__IGNORED="masked",
        SELF_TRAINING__ENABLED=True,
        SELF_TRAINING__ROUNDS=1,
        SELF_TRAINING__ROUND_ITERS=2,
        SELF_TRAINING__REFINE__ENABLED=False,
        SELF_TRAINING__GATE__THRESH=0.0,
        SELF_TRAINING__GUARD__ENABLED=False,
        DATASETS__TRAIN=(),
    )
    assert not same_weights(final, adapted / "model_final.pth")

    sure = tmp_path / "sure" / "calibrated.pth"
    flags = ["--eval-only", "--calibrate", str(sure)]
    calibrated = figures(command("calibrated", flags, MODEL__WEIGHTS=final))
    content = torch.load(sure, weights_only=True)
    assert content["facts"]["temperature"] != 1
    assert content["facts"]["trained_on"] == tuple((name,) for name in NAMES)
    assert {**calibrated, "ECE": 0, "AURC": 0} == {**figures(whole), "ECE": 0, "AURC": 0}
    assert calibrated == figures(command("again", ["--eval-only"], MODEL__WEIGHTS=str(sure)))

    for taken in (final, str(tmp_path / "set" / "images" / "scene0.png")):
        with pytest.raises(SystemExit, match=r"--calibrate: expected "):
            command("no", ["--eval-only", "--calibrate", taken], MODEL__WEIGHTS=final)

    small = tmp_path / "small.pth"
    assert export_weights(str(sure), str(small), str(whole / "config.yaml")) == {}
    image = np.asarray(Image.open(tmp_path / "set" / "images" / "scene0.png"))
    config = whole / "config.yaml"
    plain = Predictor(config, weights=final)(image, NAMES)
    full, light = (Predictor(config, weights=str(p))(image, NAMES) for p in (sure, small))
    assert np.array_equal(plain.label_map, full.label_map)
    assert not np.allclose(plain.confidence, full.confidence)
    assert (full.label_map == light.label_map).mean() > 0.95  # half precision
    assert np.abs(full.confidence - light.confidence).max() < 0.05

    flags = ["--config-file", str(config), "--weights", str(small), "--output", f"{tmp_path}/out"]
    flags += ["--input", str(tmp_path / "set" / "images"), "--vocabulary", "; ".join(NAMES)]
    assert prediction_command(flags) == 0
    assert "4 of 4 files done" in capsys.readouterr().out
