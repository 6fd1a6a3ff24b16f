"""Training, evaluation and demo on data of one's own, by command line alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.config import setup_cfg
from stseg.engine import train_command
from stseg.engine.arguments import parse_args
from stseg.engine.setup import check_data
from stseg.self_training.target import load_target
from stseg.tools.prediction import prediction_command
from tests.helpers import annotated_data as data
from tests.helpers.colour_net import ColourTestNet

from . import fakes

ADAPT = Path(__file__).resolve().parents[2] / "configs" / "mini" / "adapt_folder.yaml"

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def keys(root, *more):
    """KEY VALUE pairs of a short run on "mine"; the names of the data set are all it has."""
    opts = fakes.make_opts(["mine"], root / "run", "SOLVER.MAX_ITER", 2, *more)
    at = opts.index("DATASETS.FOLDERS")
    return opts[:at] + opts[at + 2 :]


@pytest.mark.parametrize("kind", data.WRITERS)
def test_a_model_is_trained_and_evaluated_on_every_format(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(fakes, "CLASSES", data.NAMES)
    root = data.WRITERS[kind](tmp_path / "set", 2)
    flags = ["--num-gpus", "0", "--data", f"mine={kind}:{root}"]
    trained = fakes.main(parse_args([*flags, *keys(tmp_path)]))
    assert 0 <= trained["sem_seg"]["mIoU"] <= 100
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "Data set mine: " in log and "2 classes: bright, dark" in log
    again = fakes.main(parse_args([*flags, "--eval-only", "--resume", *keys(tmp_path)]))
    assert again["sem_seg"]["mIoU"] == pytest.approx(trained["sem_seg"]["mIoU"])
    assert {"IoU-bright", "IoU-dark"} <= set(again["sem_seg"])


def test_the_written_config_registers_the_data_again(tmp_path):
    root = data.write_labelme(tmp_path / "set", 1)
    cfg = setup_cfg(opts=keys(tmp_path), data=[f"mine=labelme:{root},names=dark; bright"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    check_data(setup_cfg(tmp_path / "config.yaml"))
    assert MetadataCatalog.get("mine").stuff_classes == ["dark", "bright"]


def test_images_and_flags_of_several_data_sets_are_registered(tmp_path):
    data.write_labelme(tmp_path / "a", 1)
    data.write_images(tmp_path / "b", 1)
    flags = [f"a=labelme:{tmp_path}/a", f"b=images:{tmp_path}/b,names=cat; dog"]
    check_data(setup_cfg(opts=keys(tmp_path), data=flags))
    assert "sem_seg_file_name" in DatasetCatalog.get("a")[0]
    assert "sem_seg_file_name" not in DatasetCatalog.get("b")[0]


def test_masks_whose_class_is_ignored_are_refused_before_anything_starts(tmp_path):
    data.write_plain(tmp_path / "set", 3)
    for file in (tmp_path / "set" / "labels").iterdir():
        Image.fromarray(255 * np.asarray(Image.open(file))).save(file)
    opts = keys(tmp_path, "DATASETS.TEST", "()")
    place = f"mine=folder:{tmp_path}/set"
    with pytest.raises(SystemExit, match="train_net.py: Data set mine: .*values=0:0,255:1"):
        train_command(["--num-gpus", "0", "--data", place, *map(str, opts)])
    cfg = setup_cfg(ADAPT, ["DATASETS.TRAIN", "('mine',)"], data=[place])
    check_data(cfg)  # the images alone will do


def test_tables_of_values_may_stand_in_a_config(tmp_path):
    data.write_plain(tmp_path / "set", 3)
    entry = {"name": "mine", "path": str(tmp_path / "set"), "values": {0: "dark", 1: 0}}
    (tmp_path / "a.yaml").write_text(json.dumps({"DATASETS": {"FOLDERS": [entry]}}))
    cfg = setup_cfg(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(cfg.dump())
    for file in ("a.yaml", "b.yaml"):
        check_data(setup_cfg(tmp_path / file))
    assert all((label == 1 - data.truth(i)).all() for i, label in enumerate(data.label_maps()))


def test_images_of_a_data_set_can_be_adapted_to_and_their_labels_are_not_seen(tmp_path):
    root = data.write_labelme(tmp_path / "set", 2)
    opts = ["DATASETS.TRAIN", "('mine',)", "DATASETS.TEST", "('mine',)"]
    cfg = setup_cfg(ADAPT, opts, data=[f"mine=labelme:{root}"])
    check_data(cfg)
    target = load_target(cfg)
    assert target.vocabulary.names == data.NAMES
    assert [set(record) for record in target.records] == [{"file_name"}] * 2


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("labelme:photos", "--data: expected NAME=FORMAT:PATH"),
        ("mine=labelme:nowhere", "mine: expected the folder of labels .*nowhere"),
        ("mine=folder:x,ignore=[1", "--data, ignore of 'mine': expected YAML"),
    ],
)
def test_a_mistake_in_the_flag_is_one_line(tmp_path, monkeypatch, flag, message):
    monkeypatch.setattr("sys.argv", ["train_net.py", "--data", flag, *keys(tmp_path)])
    with pytest.raises(SystemExit, match=rf"^train_net.py: .*{message}"):
        train_command()


def demo_flags(root, *flags):
    assert ColourTestNet  # importing it registers it
    (root / "tiny.yaml").write_text(
        "MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}\n"
        "INPUT: {MIN_SIZE_TEST: 0}\n"
    )
    return ["--config-file", str(root / "tiny.yaml"), "--output", str(root / "out"), *flags]


@pytest.mark.parametrize("kind", data.WRITERS)
def test_the_demo_takes_images_and_names_of_every_format(tmp_path, kind, capsys):
    root = data.WRITERS[kind](tmp_path / "set", 2)
    for path in root.rglob("*"):  # the demo's test model knows colours
        if path.suffix in (".json", ".txt"):
            path.write_text(path.read_text().replace("bright", "red").replace("dark", "blue"))
    assert prediction_command(demo_flags(tmp_path, "--data", f"mine={kind}:{root}")) == 0
    assert "2 of 2 files done" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "01.json").read_text())
    assert sorted(entry["name"] for entry in content["classes"]) == ["blue", "red"]
    assert Image.open(tmp_path / "out" / "00.png").size == (data.WIDTH, data.HEIGHT)


def test_names_that_are_probably_not_meant_are_told_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes, "CLASSES", ["dark"])
    root = data.write_labelme(tmp_path / "set", 2)
    flag = f"mine=labelme:{root},names=dark, bright"
    fakes.main(parse_args(["--num-gpus", "0", "--data", flag, *keys(tmp_path)]))
    assert "dark, bright are synonyms of ONE class" in (tmp_path / "run" / "log.txt").read_text()
