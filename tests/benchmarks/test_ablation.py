"""The ablation's figures, and its runs with a stand-in for train_net.py."""

import json
import math
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import ablation, ablation_runs
from benchmarks.ablation_rows import DEA, ROWS, comparisons, minutes, with_requirements
from benchmarks.ablation_runs import CONFIGS
from benchmarks.ablation_table import (
    interval,
    markdown,
    paired,
    paired_markdown,
    read_figures,
    spread,
    summarise,
    verdict,
)
from stseg.config import setup_cfg
from tests.helpers.result_files import write_figures

VAL, DEV = "small_world_target_val_sem_seg", "small_world_target_dev_sem_seg"


def figures(everything, seen=0.0, unseen=0.0):
    return {"all": everything, "seen": seen, "unseen": unseen}


# --- figures ---


def test_spread_is_mean_sample_deviation_and_range():
    found = spread([1.0, 2.0, 6.0])
    assert found["mean"] == 3.0
    assert found["std"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found["range"] == 5.0
    assert found["min"] == 1.0


def test_of_a_single_seed_the_deviation_is_unknown_not_zero():
    assert math.isnan(spread([4.0])["std"])


def test_a_gain_compares_runs_of_the_same_seed():
    rows = {
        "baseline": {0: figures(10), 1: figures(20)},
        "st": {0: figures(13), 1: figures(23)},
        "dea": {1: figures(21)},
        "none": {},
    }
    summary = summarise(rows, "baseline")
    assert summary["st"]["gain"]["all"]["mean"] == 3.0
    assert summary["st"]["gain"]["all"]["range"] == 0.0
    assert summary["st"]["figures"]["all"]["range"] == 10.0
    assert summary["dea"]["gain"]["all"]["mean"] == 1.0
    assert summary["baseline"]["gain"] == {}
    assert "none" not in summary


def test_figures_are_read_by_data_set():
    plain = {"mIoU": 50.0, "seen mIoU": 51.0, "unseen mIoU": 47.0, "IoU-sky": 3.0}
    results = {VAL: {"sem_seg": plain}}
    assert read_figures(results, VAL) == {"all": 50.0, "seen": 51.0, "unseen": 47.0}
    with pytest.raises(ValueError, match=f"of {DEV}, got None among the sets {VAL}"):
        read_figures(results, DEV)
    with pytest.raises(ValueError, match="'unseen mIoU'"):
        read_figures({VAL: {"sem_seg": {**plain, "unseen mIoU": None}}}, VAL)


def test_the_table_has_rows_in_order_with_signed_gains():
    rows = {"st": {0: figures(51), 1: figures(53)}, "baseline": {0: figures(50), 1: figures(50)}}
    titles = {key: row.title for key, row in ROWS.items()}
    lines = markdown(summarise(rows, "baseline"), titles, {"st": "2 x adapted"}).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| baseline | 50.00 ± 0.00 (0.00) |")
    assert lines[3].startswith("| + ST | 52.00 ± 1.41 (2.00) |")
    assert "| +2.00 ± 1.41 (2.00) |" in lines[3]
    assert lines[3].endswith("| 2 | 2 x adapted |")


def test_the_interval_is_student_s_over_the_seeds():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # deviation 1.8708, t 2.571 of 5 degrees
    half = 2.571 * 1.8708287 / math.sqrt(6)
    assert found["mean"] == 3.5 and found["seeds"] == 6
    assert (found["low"], found["high"]) == pytest.approx((3.5 - half, 3.5 + half))
    two = interval([1.0, 3.0])
    assert two["high"] - two["low"] == pytest.approx(2 * 12.706 * math.sqrt(2) / math.sqrt(2))
    assert math.isnan(interval([4.0])["low"])
    many = interval([0.0, 1.0] * 20)
    assert many["high"] - 0.5 == pytest.approx(2.086 * spread([0.0, 1.0] * 20)["std"] / 40**0.5)


def test_seeds_are_paired_and_the_null_is_said():
    rows = {
        "baseline": {0: figures(10), 1: figures(20), 2: figures(30)},
        "st": {0: figures(15.0), 1: figures(25.5), 2: figures(34.5)},
        "dea": {0: figures(12), 1: figures(19), 7: figures(0)},
    }
    found = paired(rows, [("st", "baseline"), ("dea", "baseline"), ("dea", "st")])
    assert found["st - baseline"]["all"]["mean"] == 5.0
    assert found["st - baseline"]["all"]["low"] == pytest.approx(5 - 4.303 * 0.5 / 3**0.5)
    assert found["dea - baseline"]["all"]["seeds"] == 2
    shown = {pair: verdict(metrics["all"]) for pair, metrics in found.items()}
    assert shown == {
        "st - baseline": "more",
        "dea - baseline": "no difference shown",
        "dea - st": "no difference shown",
    }
    assert verdict({"low": -2.0, "high": -0.1}) == "less"
    lines = paired_markdown(found).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| st - baseline | +5.00 [+3.76, +6.24] |")
    assert lines[3].endswith("| 2 | no difference shown |")


# --- rows ---


def test_a_row_brings_the_baseline_and_what_it_starts_from():
    assert with_requirements(["dea_st"]) == ["baseline", "dea", "dea_st"]
    assert with_requirements(["st"]) == ["baseline", "st"]


def test_the_four_rows_of_the_paper_come_first_and_start_where_they_should():
    assert list(ROWS)[:4] == ["baseline", "dea", "st", "dea_st"]
    assert (ROWS["st"].start, ROWS["dea_st"].start) == ("baseline", "dea")
    for row in ROWS.values():
        assert not row.start or not ROWS[row.start].start
        assert len(row.opts) % 2 == 0
    with_dea = [
        row
        for row in ROWS
        if setup_cfg(CONFIGS / ROWS[row].config, device="cpu").MODEL.STSEG.DEA.ENABLED
    ]
    assert with_dea == [row for row in ROWS if row.startswith("dea")]


def test_rows_are_compared_with_the_baseline_with_st_and_with_dea_that_is_not_pulled():
    assert comparisons(["baseline", "dea", "st", "dea_st"]) == [
        ("dea", "baseline"),
        ("st", "baseline"),
        ("dea_st", "baseline"),
        ("dea_st", "st"),
    ]
    rows = ["baseline", "dea", "dea_plain", "dea_zeroed"]
    assert comparisons(rows)[1::2] == [("dea", "dea_plain"), ("dea_zeroed", "baseline")]
    assert comparisons(rows)[-1] == ("dea_zeroed", "dea_plain")
    assert comparisons(["baseline", "st", "dea_gate_st"])[-1] == ("dea_gate_st", "st")


def test_stage_1_alone_is_pulled_unless_a_row_says_otherwise():
    weights = {
        name: setup_cfg(
            CONFIGS / row.config, list(row.opts), device="cpu"
        ).MODEL.STSEG.DEA.PULL_WEIGHT
        for name, row in ROWS.items()
        if name.startswith("dea")
    }
    assert [name for name, weight in weights.items() if weight] == ["dea"]


@pytest.mark.parametrize("name", ["zeroed", "gate", "multiscale", "antialias"])
def test_a_remedy_changes_dea_alone_and_alike_in_both_stages(name):
    found = []
    for row, plain in ((f"dea_{name}", "dea_plain"), (f"dea_{name}_st", "dea_plain_st")):
        cfgs = [
            ablation_runs.flat_settings(setup_cfg(CONFIGS / r.config, list(r.opts), device="cpu"))
            for r in (ROWS[row], ROWS[plain])
        ]
        changed = {key: value for key, value in cfgs[0].items() if cfgs[1][key] != value}
        found.append({k: v for k, v in changed.items() if k.startswith(DEA)})
        assert set(changed) - set(found[-1]) <= {"SOLVER.LR_MULTIPLIERS"}
    assert len(found[0]) == 1 and found[0] == found[1]
    assert ROWS[f"dea_{name}_st"].start == f"dea_{name}"


@pytest.mark.parametrize("row", ["dea_gate", "dea_gate_st"])
def test_the_gate_s_rate_leaves_the_other_rates_alone(row):
    rates = [
        setup_cfg(CONFIGS / ROWS[row].config, opts, device="cpu").SOLVER.LR_MULTIPLIERS
        for opts in ([], list(ROWS[row].opts))
    ]
    assert [*rates[0], ["dea.gate", 10.0]] == rates[1]


def test_costs_follow_iterations_rounds_and_cells():
    first, second = ROWS["dea"], ROWS["dea_st"]
    usual = minutes(first, 8, 200, (0, 0))
    assert minutes(first, 8, 100, (9, 9)) == usual / 2
    assert minutes(first, 16, 200, (0, 0)) > 2 * usual
    assert minutes(second, 8, 7, (2, 120)) == minutes(second, 8, 200, (0, 0))


# --- runs ---


class StandIn:
    """Takes the place of a train_net.py process: writes what it would, and keeps the calls."""

    def __init__(self):
        self.calls = []
        self.fails = False

    def run(self, command, stdout=None, **_):
        if command[0] == "git":
            return SimpleNamespace(returncode=0, stdout="0123456789ab-dirty\n")
        args = command[command.index("--num-gpus") + 2 :]
        opts = dict(zip(args[1::2], args[2::2], strict=True))
        out = Path(opts["OUTPUT_DIR"])
        out.mkdir(parents=True, exist_ok=True)
        config = Path(command[command.index("--config-file") + 1]).name
        self.calls.append({"flag": args[0], "opts": opts, "config": config})
        if self.fails:
            stdout.write(b"no more memory\n")
            return SimpleNamespace(returncode=1)
        assert "MODEL.WEIGHTS" not in opts or Path(opts["MODEL.WEIGHTS"]).exists()
        if args[0] == "--eval-only":
            name = opts["DATASETS.TEST"].strip("(),'")
            value = 50.0 + int(opts["SEED"]) + 4 * ("_st" in opts["MODEL.WEIGHTS"])
            made = {"mIoU": value, "seen mIoU": value, "unseen mIoU": value + 1}
            write_figures(out / "results.json", name, made)
        else:
            for name in ("model_0000099.pth", "model_final.pth"):
                (out / name).touch()
            if "MODEL.WEIGHTS" in opts:
                (out / "self_training").mkdir(exist_ok=True)
                (out / "self_training" / "rounds.json").write_text('{"verdict": "adapted"}')
        return SimpleNamespace(returncode=0)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder with configs of known keys, a stand-in for train_net.py, and no data."""
    for name in {row.config for row in ROWS.values()}:
        (tmp_path / name).write_text(f"_BASE_: {CONFIGS / 'small_world.yaml'}\n")
    monkeypatch.setattr(ablation_runs, "CONFIGS", tmp_path)
    monkeypatch.setattr(ablation, "prepare_data", lambda root, scenes: None)
    stand_in = StandIn()
    monkeypatch.setattr(ablation_runs.subprocess, "run", stand_in.run)
    return SimpleNamespace(out=tmp_path / "out", process=stand_in)


def call(workspace, *flags):
    out = str(workspace.out)
    assert ablation.main(["--out", out, "--rows", "dea_st", "--seeds", "2", *flags]) == 0
    return new_calls(workspace)


def new_calls(workspace):
    calls, workspace.process.calls = workspace.process.calls, []
    return calls


def training(calls):
    return [c for c in calls if c["flag"] == "--resume"]


def trained(calls):
    return sorted("/".join(c["opts"]["OUTPUT_DIR"].split("/")[-2:]) for c in training(calls))


def test_every_run_is_trained_once_and_the_table_is_written(workspace, capsys):
    calls = call(workspace)
    rows = ("baseline", "dea", "dea_st")
    assert trained(calls) == [f"seed{seed}/{row}" for seed in (0, 1) for row in rows]
    assert len(calls) == 12
    table = json.loads((workspace.out / "table_val.json").read_text())
    made = {"all": 55.0, "seen": 55.0, "unseen": 56.0}
    assert table["per_seed"]["dea_st"]["1"] == pytest.approx(made)
    assert table["summary"]["dea_st"]["gain"]["unseen"]["mean"] == pytest.approx(4.0)
    assert table["summary"]["dea_st"]["gain"]["unseen"]["range"] == 0.0
    assert table["verdicts"]["dea_st"] == "2 x adapted"
    assert (workspace.out / "table_val.md").read_text() in capsys.readouterr().out
    assert call(workspace) == []


def test_stage_2_starts_from_the_weights_of_its_own_seed_after_stage_1(workspace):
    calls = training(call(workspace))
    later = [one for one in calls if "MODEL.WEIGHTS" in one["opts"]]
    assert len(later) == 2  # two jobs at a time: another seed's stage 1 may come after
    for one in later:
        start = str(workspace.out / f"seed{one['opts']['SEED']}" / "dea" / "model_final.pth")
        assert one["opts"]["MODEL.WEIGHTS"] == start
        assert one["config"] == "adapt_small_world_dea.yaml"
        earlier = [c["config"] for c in calls[: calls.index(one)]
                   if c["opts"]["SEED"] == one["opts"]["SEED"]]  # fmt: skip
        assert "small_world_dea.yaml" in earlier


def test_a_run_whose_start_is_not_done_keeps_no_core_from_others():
    other_began, order = threading.Event(), []

    class Stub(SimpleNamespace):
        title = "a run"

        def train(self):
            order.append((self.row, self.seed))
            if self.row == "start" and self.seed == 0:
                assert other_began.wait(timeout=20)
            if self.seed == 1:
                other_began.set()

        def evaluate(self):
            pass

    first = {"start": "", "then": "start"}
    runs = [
        Stub(row=row, seed=seed, spec=SimpleNamespace(start=first[row]))
        for seed in (0, 1)
        for row in first
    ]
    ablation.run_all(runs, jobs=2)
    assert sorted(order) == sorted((run.row, run.seed) for run in runs)
    for seed in (0, 1):
        assert order.index(("start", seed)) < order.index(("then", seed))


def test_other_rows_than_the_paper_s_have_fewer_seeds(workspace):
    out = str(workspace.out)
    assert ablation.main(["--out", out, "--rows", "dea_xavier", "--seeds", "2"]) == 0
    assert trained(new_calls(workspace)) == ["seed0/baseline", "seed0/dea_xavier", "seed1/baseline"]
    table = json.loads((workspace.out / "table_val.json").read_text())
    assert table["summary"]["dea_xavier"]["seeds"] == [0]


def test_what_is_left_is_told_first_and_other_sizes_have_folders_of_their_own(workspace, capsys):
    call(workspace)
    assert capsys.readouterr().out.startswith("6 of 6 runs to do: about ")
    assert call(workspace) == []
    assert capsys.readouterr().out.startswith("0 of 6 runs to do: about 0 minutes")
    calls = call(workspace, "--cells", "16", "--scenes", "160")
    assert all(c["opts"]["MODEL.STSEG.IMAGE_SIZE"] == "[256, 256]" for c in calls)
    assert {c["opts"]["OUTPUT_DIR"].split("/")[-3] for c in training(calls)} == {
        "cells16_scenes160"
    }
    table = json.loads((workspace.out / "cells16_scenes160" / "table_val.json").read_text())
    assert table["differences"]["dea_st - baseline"]["unseen"]["low"] == pytest.approx(4.0)
    assert table["commit"] == "0123456789ab-dirty"
    assert "dea_st - dea" not in table["differences"]


def test_fewer_scenes_are_of_another_data_root(tmp_path):
    plans = [
        ablation.build_plan(ablation.parse_args(["--out", str(tmp_path), *flags]))
        for flags in ([], ["--cells", "16"], ["--scenes", "160"])
    ]
    assert [plan.data.name for plan in plans] == ["datasets", "datasets", "datasets_scenes160"]
    assert [plan.folder.name for plan in plans[1:]] == ["cells16", "scenes160"]


def test_no_training_run_is_given_an_evaluation_set(workspace):
    assert all(c["opts"]["DATASETS.TEST"] == "()" for c in training(call(workspace)))


def test_an_interrupted_run_is_continued_and_finished_ones_are_left_alone(workspace):
    call(workspace)
    run = workspace.out / "seed1" / "dea"
    (run / "done.json").unlink()
    assert trained(call(workspace)) == ["seed1/dea"]
    assert [p.name for p in run.glob("model_*")] == ["model_final.pth"]


def test_dev_evaluates_the_same_models_on_the_development_split(workspace):
    call(workspace)
    calls = call(workspace, "--dev")
    assert len(calls) == 6
    assert {c["opts"]["DATASETS.TEST"] for c in calls} == {f"('{DEV}',)"}
    assert (workspace.out / "table_dev.md").exists()


def test_a_variant_trains_stage_2_anew_and_shares_stage_1(workspace):
    call(workspace, "--dev")
    calls = call(workspace, "--dev", "--variant", "warm", "SOLVER.BASE_LR", "0.5")
    assert trained(calls) == ["seed0/dea_st@warm", "seed1/dea_st@warm"]
    assert all(c["opts"]["SOLVER.BASE_LR"] == "0.5" for c in calls)
    assert (workspace.out / "table_dev_warm.md").exists()


def test_runs_of_other_settings_are_not_mixed(workspace):
    call(workspace)
    with pytest.raises(SystemExit, match=r"SOLVER.MAX_ITER 200 \(now 7\)"):
        call(workspace, "--stage1-iters", "7")
    assert new_calls(workspace) == []


def test_a_failed_run_ends_with_its_last_words_and_its_log(workspace):
    workspace.process.fails = True
    with pytest.raises(SystemExit) as error:
        call(workspace)
    assert "no more memory" in str(error.value)
    assert "process.txt" in str(error.value)
    workspace.process.fails = False
    new_calls(workspace)
    assert len(trained(call(workspace))) == 6


@pytest.mark.parametrize(
    "flags",
    [
        ["--seeds", "0"],
        ["--rows", "sed"],
        ["--variant", "x", "--dev"],
        ["--dev", "SOLVER.BASE_LR", "1"],
        ["--variant", "x", "SOLVER.BASE_LR", "1"],
        ["--dev", "--variant", "x", "SOLVER.BASE_LR"],
        ["--cells", "12"],
        ["--scenes", "0"],
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as error:
        ablation.parse_args(flags)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "expected" in said or "invalid choice" in said


def test_only_missing_and_half_written_splits_are_rendered(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(ablation.subprocess, "run", lambda command, check: commands.append(command))
    scenes = {"train": 2, "target_train": 1}
    for split, count in (("train", 1), ("val", 3), ("target_train", 1)):
        folder = tmp_path / "small_world" / "images" / split
        folder.mkdir(parents=True)
        for index in range(count):
            (folder / f"{index:06d}.png").touch()
    ablation.prepare_data(tmp_path, scenes)
    (command,) = commands
    flags = dict(zip(command[4::2], command[5::2], strict=True))
    assert flags == {"--train": "2", "--dev": "0", "--val": "0", "--target-train": "0"}
    (tmp_path / "small_world/images/train/000001.png").touch()
    ablation.prepare_data(tmp_path, scenes)
    assert len(commands) == 1
    (tmp_path / "small_world/images/train/000002.png").touch()
    with pytest.raises(ValueError, match="expected 2 scenes, got 3"):
        ablation.prepare_data(tmp_path, scenes)
