import json

import numpy as np
import pytest
from PIL import Image

from stseg.cli import stseg_command
from stseg.data import check_registered
from stseg.evaluation.results import Protocol, Result
from stseg.tools.reproduction import BENCHMARKS, Claim, claims, compared
from stseg.tools.verification import OFFICIAL
from stseg.weights import catalog


@pytest.fixture
def four_images(tmp_path, monkeypatch):
    """ADE20K-150's validation folders with four pictures and labels of random numbers."""
    rng = np.random.default_rng(0)
    root = tmp_path / "datasets" / "ADEChallengeData2016"
    for folder, end in (("images", "jpg"), ("annotations_detectron2", "png")):
        (root / folder / "validation").mkdir(parents=True)
        for i in range(4):
            shape = (48, 64, 3) if end == "jpg" else (48, 64)
            pixels = rng.integers(0, 256 if end == "jpg" else 150, shape, np.uint8)
            pixels[:8] = 255
            Image.fromarray(pixels).save(root / folder / "validation" / f"{i}.{end}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)


def test_a_row_goes_from_its_name_to_both_figures_and_a_verdict(four_images, served, capsys):
    command = ["reproduce", "sed-convnextB", "--dataset", "ade20k_150", "--num-gpus", "0"]
    keys = ["DATALOADER.NUM_WORKERS", "0"]
    assert stseg_command([*command, *keys]) == 1
    text = capsys.readouterr().out
    assert "A-150" in text and "4 of 2000 images: no verdict" in text and "31.8" in text
    content = json.loads(open("output/sed-convnextB/reproduction.json").read())
    (row,) = content["rows"]
    assert 0 < row["gt"] < 5 and row["union"] <= row["gt"] and not row["good"]
    (provenance,) = content["provenance"].values()
    assert len(provenance["weights"]) == 64


def test_missing_data_are_told_before_anything_is_fetched(shop, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(SystemExit, match="1"):
        stseg_command(["reproduce", "sed-convnextB", "--dataset", "PC-459"])
    captured = capsys.readouterr()
    assert "stseg data prepare pascal_context_459" in captured.err and not shop.requests


def test_without_a_name_every_figure_is_listed_that_can_be_read(capsys):
    assert stseg_command(["reproduce"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    readable = [e for e in catalog().values() if e.config]
    assert len(rows) == sum(len(e.figures) for e in readable) >= 10


def test_figures_of_other_words_are_measured_with_these():
    (glued,), (spaced,) = (claims(name, ["PC-459"]) for name in ("sed-convnextB", "ebseg-vitB"))
    assert glued.data_set == "context_459_test_sem_seg"
    assert spaced.data_set == "context_459_test_sem_seg_spaced"
    for claim in claims():
        check_registered(claim.data_set, "DATASETS.TEST")
    protocol = Protocol(5105, "", "", 459, "", (459, 65535))
    figures = {"mIoU_gt": 0.173, "mIoU_union": 0.16}
    found = compared(spaced, Result(protocol, figures, definitions={}, classes=[]), 0.3)
    assert found.good and found.expected == (5105,)


def test_every_published_benchmark_has_data():
    told = {key for entry in catalog().values() for key in entry.figures}
    assert told <= set(BENCHMARKS) and all(name in OFFICIAL for name, _ in BENCHMARKS.values())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("sed", [], "expected a name"),
        ("catseg-vitB", [], "not built here yet"),
        ("sed-convnextB", ["ade"], r"--dataset: expected one of A-847 \(ade20k_847\)"),
        ("sed-convnextB", ["PAS-20b"], "expected a published figure on PAS-20b, got none"),
        ("stseg-mini", [], "Published are: none"),
    ],
)
def test_what_cannot_be_reproduced_is_told(name, data, message):
    with pytest.raises(ValueError, match=message):
        claims(name, data)


@pytest.mark.parametrize(
    ("gt", "union", "images", "good", "verdict"),
    [
        (0.1839, 0.14, 5105, True, "reproduced"),
        (0.23, 0.1889, 5105, True, "reproduced, by mIoU_union"),
        (0.1829, 0.14, 5105, False, "not reproduced: -0.3"),
        (0.186, 0.186, 100, False, "100 of 5105 images: no verdict"),
    ],
)
def test_the_verdict_names_the_definition(gt, union, images, good, verdict):
    protocol = Protocol(images, "", "", 459, "", (459, 65535))
    result = Result(protocol, {"mIoU_gt": gt, "mIoU_union": union}, definitions={}, classes=[])
    found = compared(Claim("sed-convnextB", "PC-459", 18.6, "its authors"), result, 0.3)
    assert (found.good, found.verdict) == (good, verdict)
