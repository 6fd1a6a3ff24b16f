"""The benchmark of inference, on a tiny model and on made-up figures."""

import json
import math

import pytest
import torch
from detectron2.modeling import build_model

from benchmarks import inference, inference_case
from benchmarks.case_settings import Case
from benchmarks.inference import main
from benchmarks.inference_case import compare, counted, measure, operations
from benchmarks.inference_parts import REST, Meter, PeakMeter, metered, our_parts
from benchmarks.inference_plot import lines, plot
from benchmarks.inference_sides import Survivors, our_side, photos
from benchmarks.inference_tables import growths, ratios, tables
from stseg.modeling.heads import cost_decoder
from tests.helpers import tiny_model


@pytest.fixture
def tiny(tmp_path):
    """A maker of the tiny model's side."""
    tiny_model.register(tmp_path)

    def make(case, **changes):
        torch.manual_seed(0)
        return our_side(case, build_model(tiny_model.tiny_cfg(**changes)))

    return make


def test_the_parts_add_up_to_the_whole(tiny):
    case = Case("stseg", classes=3, image_size=64, batch=2, repeats=2)
    found = measure(case, tiny(case, MODEL__STSEG__DEA__ENABLED=True))
    parts = found["parts"]
    wanted = {"CLIP", "SAM", "DEA", "cost volume", "ConvNeXt blocks", "fusion", "heads", REST}
    wanted |= {"class attention, sums", "class attention, answers"}
    assert wanted <= set(parts)
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(
        found["best_s"], rel=0.1
    )
    assert sum(part["gflop"] for part in parts.values()) == pytest.approx(found["gflop"])
    assert all(parts[label]["gflop"] > 0 for label in ("CLIP", "SAM", "DEA", "fusion"))
    assert found["best_s"] <= found["median_s"] and found["peak_mib"] >= found["added_mib"] >= 0


def test_operations_of_many_names_are_told_from_few(tiny):
    case = Case("stseg", classes=9, image_size=64)
    side = tiny(case)
    with torch.inference_mode():
        wanted = counted(side, photos(case), 9)
        assert operations(case, side, photos(case)) == pytest.approx(wanted)


def test_a_metered_model_is_left_as_it_was(tiny):
    side = tiny(Case("stseg"))
    with metered(side.model, side.parts, Meter(lambda: 0.0), side.functions):
        assert "forward" in vars(side.model.head)
    assert not any("forward" in vars(module) for module in side.model.modules())
    assert all(not hasattr(getattr(*place), "__wrapped__") for place in side.functions.values())


def test_answers_are_probabilities_or_labels_of_the_photo(tiny):
    for answer, shape in (("probabilities", (4, 50, 70)), ("labels", (50, 70))):
        case = Case("stseg", classes=4, image_size=64, photo=(50, 70), answer=answer)
        assert [x.shape for x in tiny(case).ask(photos(case), 4)] == [shape]


def test_half_precision_is_autocast(tiny):
    case = Case("stseg", classes=2, image_size=64, dtype="bf16", repeats=1)
    side, kinds = tiny(case), []
    side.model.head.embed.register_forward_hook(lambda *call: kinds.append(call[-1].dtype))
    measure(case, side)
    assert kinds[:2] == [torch.bfloat16] * 2 and kinds[-1] == torch.float32  # when counting


def test_survivors_are_forced_for_every_image(tiny, monkeypatch):
    chosen = Survivors((4, 3, 2))
    assert [chosen.next(alive) for alive in (6, 4, 3, 6, 4, 1)] == [4, 3, 2, 4, 3, 1]
    monkeypatch.setattr(cost_decoder, "surviving_classes", None)  # put back afterwards
    case = Case("stseg", classes=6, image_size=64, batch=2, survivors=(4, 3, 2))
    side = tiny(case, MODEL__SEM_SEG_HEAD__REJECTION_TOPK=1)
    with torch.inference_mode():
        for probs in side.ask(photos(case), 6):
            assert [bool(p.any()) for p in probs] == [True] * 2 + [False] * 4


def test_a_part_inside_a_part_counts_once():
    clock = iter((0, 1, 4, 9))  # outer begins, inner begins, inner ends, outer ends
    meter = Meter(lambda: next(clock))
    meter.wrap("outer", meter.wrap("inner", lambda: None))()
    assert meter.spent == {"inner": 3, "outer": 6}


def test_the_peak_of_a_part_holds_that_of_the_parts_inside():
    class Memory:
        level = 0

        def peak(self):
            return self.level

        def reset(self):
            self.level = 1

    memory = Memory()
    meter = PeakMeter(memory)

    def use(level, then=lambda: None):
        memory.level = level
        then()

    small, large = meter.wrap("small", lambda: use(5)), meter.wrap("large", lambda: use(7))
    meter.wrap("whole", lambda: (small(), large(), use(2)))()
    assert meter.spent == {"small": 5, "large": 7, "whole": 7}
    meter.wrap("whole", lambda: use(9, small))()
    assert meter.spent == {"small": 5, "large": 7, "whole": 9}


def test_differences_are_told_in_pixels_and_probabilities():
    theirs = torch.tensor([[[0.9, 0.2]], [[0.1, 0.3]]])
    ours = torch.tensor([[[0.9, 0.4]], [[0.1, 0.3]]])
    found = compare([ours], [theirs])
    assert found["changed"] == 0.5 and math.isclose(found["largest"], 0.2, rel_tol=1e-6)
    assert compare([ours.argmax(0)], [theirs.argmax(0)]) == {"changed": 0.5}


def row(side, classes, seconds, peak, added, **more):
    """A row of the report."""
    part = {"seconds": seconds / 2, "peak_mib": peak, "gflop": 10.0}
    row = {"side": side, "classes": classes, "batch": 1, "best_s": seconds, "median_s": seconds}
    row |= {
        "cpu_s": seconds,
        "peak_mib": peak,
        "added_mib": added,
        "gflop": 20.0,
        "parts": {"CLIP": part},
    }
    return row | more


ROWS = [
    row("reference", 150, 8.0, 4000.0, 2000.0),
    row("stseg", 150, 2.0, 1000.0, 250.0, difference={"largest": 4e-7, "changed": 0.25}),
    row("reference", 847, 40.0, 16000.0, 14000.0),
    row("stseg", 847, 8.0, 1100.0, 350.0),
    row("stseg", 20, 1.0, 900.0, 150.0),
]


def test_ratios_are_the_references_figures_over_ours():
    first, second = ratios(ROWS)
    assert (first["classes"], first["best"], first["peak"], first["added"]) == (150, 4, 4, 8)
    assert (second["classes"], second["best"], second["added"]) == (847, 5, 40)
    assert first["difference"]["largest"] == 4e-7 and second["difference"] is None
    assert ratios([r for r in ROWS if r["side"] == "stseg"]) == []


def test_growth_is_told_from_150_names_on():
    found = {entry["side"]: entry for entry in growths(ROWS)}
    assert found["stseg"]["from"] == 150 and found["stseg"]["peak"] == pytest.approx(1.1)
    assert found["reference"]["peak"] == 4.0
    assert growths(ROWS[:2]) == []


def report():
    """A report of made-up figures."""
    return {
        "machine": {"cpu": "A CPU", "gpu": None, "threads": 2, "torch": "2"},
        "settings": vars(Case("stseg")),
        "matmul_gflops": 100.0,
        "rows": ROWS,
        "ratios": ratios(ROWS),
        "growth": growths(ROWS),
    }


def test_tables_name_machine_shares_and_ratios():
    text = tables(report())
    assert "A CPU, 2 threads" in text and "4.00x" in text and "25.000%" in text
    cells = [cell.strip() for cell in text.splitlines()[4].split("|")]
    assert cells[1:4] == ["150", "1", "reference"]
    assert cells[8] == "2%"  # 20 GFLOP in 8 s of 100 GFLOP/s
    assert "1.10 times" in text and "1.000 (10%; 1000)" in text


def test_the_picture_is_written(tmp_path):
    path = tmp_path / "new" / "speed.png"
    plot(report(), path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    assert [r["classes"] for r in lines(ROWS)["stseg", 1]] == [20, 150, 847]


def test_the_reference_runs_before_ours_and_files_are_written(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(case, python="ours"):
        asked.append((case.side, case.classes, python, case.compiled))
        return {"gflops": 50.0} if case.side == "peak" else row(case.side, 1, 2.0, 3.0, 1.0)

    monkeypatch.setattr(inference, "measured_apart", fake)
    files = {name: tmp_path / f"out.{name}" for name in ("json", "markdown")}
    argv = ["--classes", "20", "59", "--compile", "--reference", ".", "--reference-python", "py"]
    for name, path in files.items():
        argv += [f"--{name}", str(path)]
    main(argv)
    sides = [entry for entry in asked if entry[0] != "peak"]
    assert [entry[:2] for entry in sides[:2]] == [("reference", 20), ("stseg", 20)]
    assert sides[0][2] == "py" and sides[1][2] != "py" and not sides[0][3] and sides[1][3]
    assert json.loads(files["json"].read_text())["matmul_gflops"] == 50.0
    assert files["markdown"].read_text() in capsys.readouterr().out


def test_a_case_that_fails_is_named(monkeypatch):
    case = Case("reference", classes=2, reference="nowhere")
    with pytest.raises(RuntimeError, match=r"(?s)reference, 2 names, batch 1: .*nowhere"):
        inference.measured_apart(case)


def test_the_peak_is_that_of_a_product(monkeypatch):
    monkeypatch.setattr(inference_case, "PEAK_SIDE", {"cpu": 64})
    assert inference_case.matmul_peak("cpu", "fp32", 1) > 0.01


def test_every_place_of_our_parts_exists(tiny):
    model = tiny(Case("stseg"), MODEL__STSEG__DEA__ENABLED=True).model
    for places in our_parts().values():
        for place in places:
            model.get_submodule(place.partition(":")[0])


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m benchmarks.inference --classes 20 150" in capsys.readouterr().out
