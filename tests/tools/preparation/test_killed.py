"""A SIGKILL at the worst moment: a file is written beside its place and not yet moved there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stseg.data.datasets.listing import files_by_stem
from stseg.tools.preparation.command import main
from tests.helpers.raw_trees import TREES, files_below

SCRIPTS = Path(__file__).resolve().parents[3] / "datasets" / "prepare_scripts"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

# Runs a script, and kills a process in place of its N-th move of a file. Without torch, which
# preparation does not need and which takes seconds to import.
BOMB = r"""
import os, runpy, signal, sys
sys.modules["torch"] = None
script, moves, victim = sys.argv[1], int(sys.argv[2]), sys.argv[3]
del sys.argv[:3]
sys.argv[0] = script
move, root = os.replace, os.getpid()
def bomb(source, target):
    global moves
    moves -= 1
    with open(os.environ["MOVERS"], "a") as file:
        file.write(f"{os.getpid()}\n")
    if not moves:
        os.kill(root if victim == "run" else os.getpid(), signal.SIGKILL)
        signal.pause()
    move(source, target)
os.replace = bomb
runpy.run_path(script, run_name="__main__")
"""


def killed_run(script, flags, moves, movers, victim="run") -> subprocess.CompletedProcess:
    """Run until the kill; `movers` gets the processes that wrote files."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MOVERS": str(movers)}
    command = [sys.executable, "-c", BOMB, str(SCRIPTS / script), str(moves), victim, *flags]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def is_over(process: int) -> bool:
    """Gone, or dead and not yet collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def whole_files(out: Path) -> dict[str, bytes]:
    return {path: data for path, data in files_below(out).items() if not is_temporary(path)}


def is_temporary(path: str) -> bool:
    return Path(path).name.startswith(".") and path.endswith(".tmp")


def check_resumed(benchmark, flags, out, straight):
    """What a kill left is whole and ignored where it is not; repeating the command completes it."""
    left = whole_files(out)
    assert 0 < len(left) < len(straight)
    assert left.items() <= straight.items()
    for folder in {(out / path).parent for path in left}:
        assert set(files_by_stem(folder, (".png", ".tif", ".jpg", ".tmp")).values()) <= {
            str(out / path) for path in left
        }
    changed = {path: (out / path).stat().st_mtime_ns for path in left}
    assert main(benchmark, flags) == 0
    assert files_below(out) == straight  # no temporary file is left, either
    assert changed == {path: (out / path).stat().st_mtime_ns for path in left}


@pytest.mark.parametrize("script", TREES)
def test_a_killed_script_resumes_without_loss(script, tmp_path):
    benchmark, build = TREES[script]
    build(tmp_path / "raw")
    flags = ["--root", str(tmp_path / "raw"), "--jobs", "1", "--out"]
    assert main(benchmark, [*flags, str(tmp_path / "straight")]) == 0
    done = killed_run(script, [*flags, str(tmp_path / "out")], 2, tmp_path / "movers")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sum(map(is_temporary, files_below(tmp_path / "out"))) == 1
    straight = files_below(tmp_path / "straight")
    check_resumed(benchmark, [*flags, str(tmp_path / "out")], tmp_path / "out", straight)


REAL = [name for name in TREES if name != "prepare_cityscapes.py"]


@pytest.mark.parametrize("script", REAL)
def test_a_script_killed_on_real_data_resumes_without_loss(script, shared_dir, tmp_path):
    benchmark = TREES[script][0]
    flags = ["--root", str(shared_dir / "data" / "real"), "--jobs", "1", "--out"]
    assert main(benchmark, [*flags, str(tmp_path / "straight")]) == 0
    done = killed_run(script, [*flags, str(tmp_path / "out")], 2, tmp_path / "movers")
    assert done.returncode == -signal.SIGKILL, done.stderr
    straight = files_below(tmp_path / "straight")
    check_resumed(benchmark, [*flags, str(tmp_path / "out")], tmp_path / "out", straight)


def many_maps(root: Path, count: int = 40) -> None:
    TREES["prepare_coco_stuff.py"][1](root)
    first = root / "coco-stuff/annotations/val2017/000000000001.png"
    for number in range(10, 10 + count):
        os.link(first, first.with_name(f"{number:012d}.png"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_end_with_a_killed_run_and_the_work_resumes(tmp_path):
    benchmark = TREES["prepare_coco_stuff.py"][0]
    many_maps(tmp_path / "raw")
    flags = ["--root", str(tmp_path / "raw"), "--splits", "val2017", "--jobs", "2", "--out"]
    assert main(benchmark, [*flags, str(tmp_path / "straight")]) == 0
    run = [*flags, str(tmp_path / "out")]
    done = killed_run("prepare_coco_stuff.py", run, 5, tmp_path / "movers")
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = {int(line) for line in (tmp_path / "movers").read_text().split()}
    assert workers
    end = time.monotonic() + 60
    while not all(map(is_over, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert all(map(is_over, workers))
    straight = files_below(tmp_path / "straight")
    check_resumed(benchmark, run, tmp_path / "out", straight)


def test_a_killed_worker_ends_the_run_with_a_message(tmp_path):
    many_maps(tmp_path / "raw")
    out = str(tmp_path / "out")
    flags = ["--root", str(tmp_path / "raw"), "--splits", "val2017", "--jobs", "2", "--out", out]
    done = killed_run("prepare_coco_stuff.py", flags, 5, tmp_path / "movers", "worker")
    assert done.returncode == 1
    assert "A worker process was killed" in done.stderr
    assert "Traceback" not in done.stderr
