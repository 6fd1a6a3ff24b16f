"""Rows of the comparison with and without a background embedding, without running them."""

import json

import pytest

from benchmarks import ablation_runs, cel, small_world_runs
from stseg.config import setup_cfg
from stseg.data import dataset_vocabulary


def losses_of(row):
    """What a row of the table learns from, beside masks."""
    cfg = setup_cfg(ablation_runs.CONFIGS / row.config, [*row.opts], device="cpu")
    own = cfg.MODEL.CEL
    if own.BACKGROUND.ENABLED:
        return {"background"}
    keys = {"MATCHED", *(name.upper() for name in cel.LOSSES)}
    return {key.lower() for key in keys if own.LOSSES[f"{key}_WEIGHT"] > 0}


def test_a_row_differs_from_another_by_what_it_says():
    found = {name: losses_of(row) for name, row in cel.ROWS.items()}
    assert found["baseline"] == {"background"} and found["matched"] == {"matched"}
    assert found["cel"] == {"matched", *cel.DEFAULTS}
    for name in cel.LOSSES:
        assert found[f"with_{name}"] == {"matched", name}
    assert found["plus_rank_list"] == found["cel"] | {"rank_list"}
    assert found["plus_rank_pairs"] == found["cel"] | {"rank_pairs"}


def test_offsets_are_of_evaluation_alone():
    rows = {name: row for name, row in cel.ROWS.items() if "_off_" in name}
    assert len(rows) == 2 * len(cel.OFFSETS)
    for name, row in rows.items():
        start, offset = name.split("_off_")
        assert (row.start, row.trained) == (start, False) and "looked at" in row.title
        cfg = setup_cfg(ablation_runs.CONFIGS / row.config, [*row.evaluation], device="cpu")
        assert cfg.MODEL.CEL.SEEN_OFFSET == float(offset)


def test_what_evaluates_another_row_is_the_same_model():
    rows = [row for row in cel.ROWS.values() if not row.trained]
    assert {row.start for row in rows} == {"baseline", "cel"}
    for row in rows:
        assert losses_of(row) == losses_of(cel.ROWS[row.start])


def test_a_calibrated_row_evaluates_with_what_its_chooser_wrote(tmp_path, monkeypatch):
    calls = []

    def call(run, arguments):
        calls.append(arguments)
        if "--json" in arguments:
            path = tmp_path / "seed1" / run.row / "chosen.json"
            assert arguments[arguments.index("--json") + 1] == str(path)
            path.write_text(json.dumps({"keys": {"MODEL.CEL.SEEN_OFFSET": 0.035}, "more": 1}))
        return 1.0

    monkeypatch.setattr(ablation_runs.Run, "_call", call)
    monkeypatch.setattr("stseg.evaluation.read_results", lambda path: {})
    plan = cel.build_plan(cel.parse_args(["--out", str(tmp_path)]))
    run = ablation_runs.Run(plan, "baseline_calibrated", 1)
    run.claim()
    run.train()
    assert run.evaluate() == {} and run.chosen() == {"MODEL.CEL.SEEN_OFFSET": 0.035}
    assert [call[:2] for call in calls] == [
        ["-m", "benchmarks.seen_offset"],
        [str(ablation_runs.ROOT / "train_net.py"), "--config-file"],
    ]
    weights = str(tmp_path / "seed1" / "baseline" / "model_final.pth")
    for arguments in calls:
        pairs = dict(zip(arguments, arguments[1:], strict=False))
        assert pairs["MODEL.WEIGHTS"] == weights
        assert pairs["MODEL.CEL.BACKGROUND.ENABLED"] == "True" and pairs["SEED"] == "1"
    assert pairs["MODEL.CEL.SEEN_OFFSET"] == "0.035"


def test_rounds_of_self_training_start_from_cel_and_trust_labels_of_seen_classes():
    row = cel.ROWS["cel_st"]
    cfg = setup_cfg(ablation_runs.CONFIGS / row.config, [*row.opts], device="cpu")
    assert row.adapts and row.start == "cel"
    st, (images,) = cfg.SELF_TRAINING, cfg.DATASETS.TRAIN
    assert (st.LABELER, st.VLM.GROUND_TRUTH) == (
        "VisionLanguageLabeler",
        "small_world_train_sem_seg",
    )
    assert cfg.MODEL.CEL.ABSENT == "seen" and cfg.MODEL.LOSS.IGNORED == "masked"
    words, known = (dataset_vocabulary(name) for name in (images, st.VLM.GROUND_TRUTH))
    marked = {name for name, seen in zip(words.names, words.seen, strict=True) if seen}
    assert marked == set(known.names) and len(words) > len(known)


def test_what_is_compared_is_among_the_rows():
    assert all(set(pair) <= cel.ROWS.keys() for pair in cel.PAIRS)
    assert ("cel", "baseline") in cel.PAIRS and len(set(cel.PAIRS)) == len(cel.PAIRS)


@pytest.fixture
def done(monkeypatch):
    """Runs that were to be done, by row, with the data set; nothing is run."""
    found = {}

    def run_all(runs, jobs):
        for run in runs:
            found.setdefault(run.row, []).append((run.seed, run.plan.dataset))

    monkeypatch.setattr(small_world_runs, "run_all", run_all)
    monkeypatch.setattr(small_world_runs, "prepare_data", lambda root, scenes: None)
    monkeypatch.setattr(cel, "tabulate", lambda runs, plan, name, pairs: ({"name": name}, "table"))
    keys = {"MODEL.CEL.SEEN_OFFSET": 0.04}
    monkeypatch.setattr(ablation_runs.Run, "chosen", lambda run: keys)
    return found


def test_two_rows_have_six_seeds_and_the_others_three(done, tmp_path, capsys):
    assert cel.main(["--out", str(tmp_path)]) == 0
    assert done.keys() == cel.ROWS.keys()
    counts = {row: len(runs) for row, runs in done.items()}
    assert {row for row, count in counts.items() if count == 6} == {"baseline", "cel"}
    assert set(counts.values()) == {3, 6}
    assert {name for runs in done.values() for _, name in runs} == {"small_world_val_sem_seg"}
    content = json.loads((tmp_path / "table_val.json").read_text())
    assert content.keys() == {"name", "chosen"} and content["name"] == "benchmarks.cel"
    assert len(content["chosen"]) == 2 * 3
    said = capsys.readouterr().out
    assert "minutes of one core to do" in said
    assert "less what the tower tells: MODEL.CEL.SEEN_OFFSET 0.04" in said


def test_settings_are_tried_on_another_split_and_a_row_brings_its_start(done, tmp_path):
    flags = ["--dev", "--rows", "cel_off_0.05", "--seeds", "1", "--out", str(tmp_path)]
    assert cel.main(flags) == 0
    assert done == {name: [(0, "small_world_dev_sem_seg")] for name in ("cel", "cel_off_0.05")}
    assert (tmp_path / "table_dev.json").exists()
