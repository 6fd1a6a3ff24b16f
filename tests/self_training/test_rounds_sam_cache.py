"""Rounds that keep SAM's embeddings in a folder end like rounds that do not."""

import signal

import pytest

from stseg.engine import run_process
from stseg.engine.arguments import parse_args
from stseg.engine.processes import cpu_worker, free_port

from . import round_runs as runs

FEATURES = "stseg.utils.disk_cache"
# All images are the guard's, too, which also looks at their mirrored copies.
IMAGES, LOOKS = 4, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return runs.make_images(tmp_path_factory.mktemp("rounds") / "data", count=IMAGES)


@pytest.fixture
def run(data, tmp_path):
    """Runs two rounds; returns OUTPUT_DIR and what SAM's encoder computed, one entry per image."""

    def start(*patches, cache=True, changes=(), flags=(), folder="run", exitcode=0, **options):
        changes = {**dict(changes), "SELF_TRAINING.SAM_CACHE_DIR": cache_of(tmp_path, cache)}
        argv = runs.make_argv(data, tmp_path / folder, changes, flags, **options)
        log, calls = tmp_path / f"{folder}.txt", tmp_path / f"{folder}.calls"
        patches = (*patches, (runs.note_sam_calls, str(calls)))
        assert runs.run_in_process(argv, log, *patches) == exitcode, log.read_text()
        return tmp_path / folder, calls.read_text().split() if calls.exists() else []

    return start


def cache_of(tmp_path, wanted=True):
    return str(tmp_path / "cache") if wanted else ""


def entries(tmp_path):
    return list((tmp_path / "cache").rglob("*.tensor"))


@pytest.fixture(scope="module")
def plain(data):
    """The same run without a folder."""
    folder = data.parent / "plain"
    argv = runs.make_argv(data, folder)
    assert runs.run_in_process(argv, data.parent / "log") == 0
    return folder


def test_every_image_is_computed_once_in_all_rounds_and_runs(run, plain, tmp_path):
    folder, calls = run()
    assert len(calls) == len(set(calls)) == len(entries(tmp_path)) == LOOKS
    runs.assert_same_end(folder, plain)
    folder, calls = run(folder="again")
    assert not calls
    runs.assert_same_end(folder, plain)


def test_the_model_trains_on_what_is_not_kept_and_labels_stay_the_same(run, tmp_path):
    # Quantiles predict once more, and SAM's branch sees the padded image beside DEA's.
    options = {
        "changes": {
            "SELF_TRAINING.GATE.QUANTILE": 0.5,
            "SELF_TRAINING.REFINE.FRAME": "padded",
        },
        "stseg": True,
    }
    plain, without = run(cache=False, folder="plain", **options)
    folder, calls = run(**options)
    runs.assert_same_end(folder, plain)
    assert len(entries(tmp_path)) == LOOKS + IMAGES
    crops = 2 * 2 * 2  # of two rounds of two iterations of two images
    assert len(calls) == LOOKS + IMAGES + crops < len(without)


def test_without_dea_sams_branch_alone_uses_the_folder(run, tmp_path):
    changes = {"MODEL.STSEG.DEA.ENABLED": False, "SELF_TRAINING.GUARD.ENABLED": False}
    _, calls = run(changes=changes, stseg=True)
    assert len(calls) == len(set(calls)) == len(entries(tmp_path)) == IMAGES


def test_a_run_killed_with_half_of_the_embeddings_goes_on_with_them(run, plain, tmp_path):
    kill = (runs.kill_at, FEATURES, "write_atomically", 6)
    _, first = run(kill, exitcode=-signal.SIGKILL)
    assert len(first) == 6 and len(entries(tmp_path)) == 5
    folder, calls = run(flags=["--resume"])
    assert calls[:6] == first and len(calls) == LOOKS + 1  # the one that was not written
    runs.assert_same_end(folder, plain)


def test_a_full_disk_costs_the_folder_not_the_run(run, plain, tmp_path):
    folder, calls = run((runs.disk_full_at, 3, FEATURES))
    assert len(entries(tmp_path)) == 2 and len(calls) > LOOKS
    assert (folder / "log.txt").read_text().count("going on without") == 1
    runs.assert_same_end(folder, plain)


def test_two_processes_share_a_folder(run, plain, data, tmp_path):
    changes = {"SELF_TRAINING.SAM_CACHE_DIR": cache_of(tmp_path)}
    argv = runs.make_argv(data, tmp_path / "two", changes, flags=["--num-cpu-processes", "2"])
    url, log, calls = f"tcp://127.0.0.1:{free_port()}", tmp_path / "two.txt", tmp_path / "calls"
    note = (runs.note_sam_calls, str(calls))
    processes = [runs.start_process(argv, log, note, main=_Worker(k, url)) for k in (0, 1)]
    assert [runs.finish_process(p) for p in processes] == [0, 0], log.read_text()
    computed = calls.read_text().split()
    assert len(computed) == len(set(computed)) == len(entries(tmp_path)) == LOOKS
    first = {k: v for k, v in runs.labels(tmp_path / "two").items() if k.startswith("round_01")}
    assert len(first) == IMAGES
    assert first.items() <= runs.labels(plain).items()


class _Worker:
    """One of two processes."""

    def __init__(self, rank, url):
        self.rank, self.url = rank, url

    def __call__(self):
        cpu_worker(self.rank, run_process, parse_args(), "fork", self.url)
