"""The benchmark of EBSeg against the published way, on a tiny model and on made-up figures."""

import json

import pytest
import torch
from detectron2.modeling import build_model

from benchmarks import ebseg, ebseg_sides, reference_ebseg
from benchmarks.case_settings import Case
from benchmarks.ebseg_case import compare, measure
from benchmarks.ebseg_sides import OUR_PARTS, PUBLISHED_PARTS
from benchmarks.ebseg_tables import growths, ratios, tables
from benchmarks.inference_parts import find
from benchmarks.inference_sides import photos
from tests.helpers import tiny_model


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A case of the tiny model, whose weights lie in its file."""
    tiny_model.register(tmp_path)

    def build(case):
        return build_model(tiny_model.tiny_ebseg_cfg())

    monkeypatch.setattr(ebseg_sides, "build", build)
    files = {name: str(tmp_path / f"{name}.pt") for name in ("weights", "outputs")}
    found = Case("weights", classes=5, image_size=96, photo=(80, 96), repeats=1, **files)
    ebseg_sides.write_weights(found, photos(found)[0]["image"])
    return found


def of(side, case):
    return Case(**{**vars(case), "side": side})


def test_both_ways_lead_to_the_same_answer(case):
    published = measure(of("published", case))
    ours = measure(of("stseg", case))
    assert published["difference"] is None
    assert ours["difference"]["largest"] < 1e-4 and ours["difference"]["changed"] < 1e-3
    assert ours["difference"]["classes"] > 1
    for found in (published, ours):
        seconds = [part["seconds"] for part in found["parts"].values()]
        assert sum(seconds) == pytest.approx(found["best_s"], rel=0.1)
        assert set(found["parts"]) == {*OUR_PARTS, "rest"}


def test_the_published_way_asks_clip_in_every_round(case):
    side, rounds = ebseg_sides.make_side(of("published", case)), []
    upper = side.model.upper
    side.model.upper = lambda *args: rounds.append(args[-1].shape) or upper(*args)
    with torch.inference_mode():
        side.ask(photos(case), 5)
    layers = len(side.model.model.mask_decoder.layers)
    assert len(rounds) == layers + 1
    assert rounds[0][2:] == (6, 24, 24)  # queries, and the size of the masks


def test_every_place_of_the_parts_exists(case):
    for side, parts in (("stseg", OUR_PARTS), ("published", PUBLISHED_PARTS)):
        model = ebseg_sides.make_side(of(side, case)).model
        for place in (place for places in parts.values() for place in places):
            path, _, method = place.partition(":")
            assert callable(getattr(find(model, path), method or "forward"))


def test_more_names_keep_the_vectors_of_the_first():
    common = torch.randn(3, 16)
    few, many = (ebseg_sides.class_vectors(count, common) for count in (3, 7))
    assert torch.equal(few, many[:3])
    torch.testing.assert_close(many @ common.T, torch.zeros(7, 3), atol=1e-5, rtol=0)


def test_differences_are_shares_of_the_greatest_score():
    theirs = {"labels": torch.tensor([[0, 1]]), "scores": torch.tensor([[[4.0]], [[1.0]]])}
    ours = {"labels": torch.tensor([[0, 0]]), "scores": torch.tensor([[[4.0]], [[1.4]]])}
    found = compare(ours, theirs)
    assert found["changed"] == 0.5 and found["classes"] == 2
    assert found["largest"] == pytest.approx(0.1) and found["mean"] == pytest.approx(0.05)


def row(side, names, seconds, peak, difference=None):
    return {
        "side": side,
        "names": names,
        "dtype": "fp32",
        **dict.fromkeys(("cpu_s", "best_s", "median_s"), seconds),
        "peak_mib": peak,
        "added_mib": peak / 2,
        "parts": {"SAM": {"seconds": seconds / 4}, "rest": {"seconds": 3 * seconds / 4}},
        "difference": difference,
    }


NEAR = {"changed": 0.0, "largest": 2e-5, "mean": 1e-6, "classes": 4}
ROWS = [
    row("published", 20, 20.0, 3000.0),
    row("stseg", 20, 8.0, 2000.0, NEAR),
    row("published", 847, 30.0, 6000.0),
    row("stseg", 847, 10.0, 2100.0, {**NEAR, "largest": 0.2}),
]


def test_ratios_and_growth():
    first, second = ratios(ROWS)
    assert (first["names"], first["cpu"], first["peak"]) == (20, 2.5, 1.5)
    assert (second["names"], second["cpu"], second["side"]) == (847, 3.0, "published")
    found = {entry["side"]: entry["peak"] for entry in growths(ROWS)}
    assert found == {"published": 2.0, "stseg": pytest.approx(1.05)}


def test_files_are_written_and_the_cost_is_said_first(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(module, case, title, python="ours"):
        asked.append((case.side, case.classes, list(case.opts)[-1], python == "py"))
        return row(case.side, case.classes, 2.0, 3.0, NEAR)

    monkeypatch.setattr(ebseg, "measured_apart", fake)
    argv = ["--names", "20", "847", "--dtype", "fp32", "bf16", "--repeats", "1"]
    argv += ["--reference", ".", "--reference-python", "py", "--json", str(tmp_path / "a.json")]
    ebseg.main([*argv, "--markdown", str(tmp_path / "a.md")])
    assert asked[:4] == [
        ("weights", 847, "fp32", False),
        ("reference", 20, "fp32", True),
        ("published", 20, "fp32", False),
        ("stseg", 20, "fp32", False),
    ]
    assert [x[0] for x in asked[4:6]] == ["published", "stseg"] and asked[5][2] == "bf16"
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["command"][2] == "benchmarks.ebseg" and len(report["rows"]) == 10
    captured = capsys.readouterr()
    assert captured.err.startswith("10 cases: about 9 minutes")
    assert (tmp_path / "a.md").read_text() in captured.out


def test_tables_name_shares_ratios_and_what_is_apart():
    report = {"image_size": 640, "threads": 1, "torch": "2", "repeats": 2, "rows": ROWS}
    text = tables({**report, "ratios": ratios(ROWS), "growth": growths(ROWS)})
    assert "2.50x" in text and "3.00x" in text and "peak 1.05 times" in text
    assert "2.00 (25%)" in text and "| rest |" in text
    lines = [line for line in text.splitlines() if line.count("|") > 10]
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["-", "yes", "-", "no"]


def test_a_reference_elsewhere_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="github.com/slonetime/EBSeg"):
        reference_ebseg.build(tmp_path, tmp_path / "weights.pt", 3)


def test_another_open_clip_is_refused(tmp_path, monkeypatch):
    (tmp_path / "configs" / "ebseg").mkdir(parents=True)
    (tmp_path / reference_ebseg.CONFIG).touch()
    monkeypatch.setattr(reference_ebseg.importlib.metadata, "version", lambda name: "3.3.0")
    with pytest.raises(RuntimeError, match=r"2\.20\..*3\.3\.0.*--reference-python"):
        reference_ebseg.build(tmp_path, tmp_path / "weights.pt", 3)
