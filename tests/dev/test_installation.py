"""What `make` installs, without installing: a Python that only writes down what it is told."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!/bin/sh
case "$1 $2 $3" in
    --version*) echo Python 3.11.7 ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; : > "$3/pyvenv.cfg" ;;
    "dev/lock.py --name "*) echo "$FAKE_LOCK" ;;
    "-m pip install") shift 3; echo "$@" >> "$FAKE_TOLD"; case "$*" in *$FAKE_FAILS*) exit 1 ;; esac
esac
"""
LOCKS = [p for p in sorted((ROOT / "dev/lock").glob("*.txt")) if not p.stem.endswith("-dev")]


@pytest.fixture
def make_env(tmp_path):
    """Runs dev/setup_env.sh; returns what pip was told to install, and what was said."""
    python = tmp_path / "python3"
    python.write_text(FAKE)
    python.chmod(0o755)

    def start(*args, fails="nothing", **variables):
        told = tmp_path / "told"
        told.write_text("")
        env = {"PATH": os.environ["PATH"], "PYTHON": str(python), "VENV": str(tmp_path / "venv")}
        env |= {"FAKE_TOLD": str(told), "FAKE_FAILS": fails, "FAKE_LOCK": LOCKS[0].stem}
        done = subprocess.run(
            ["bash", str(ROOT / "dev" / "setup_env.sh"), *args],
            env=env | variables,
            capture_output=True,
            text=True,
        )
        lines = [line.replace("--progress-bar off ", "") for line in told.read_text().splitlines()]
        return lines, done.stdout + done.stderr

    start.venv = tmp_path / "venv"
    return start


def test_tools_come_to_what_running_needs_and_nothing_comes_twice(make_env):
    assert make_env()[0] == ["-e .[photos]"]
    assert make_env()[0] == []
    (make_env.venv / "kept").touch()
    assert make_env("dev")[0] == ["-e .[dev]"]
    assert make_env("dev")[0] == make_env()[0] == []
    assert (make_env.venv / "kept").exists()


def test_running_is_content_with_what_the_tests_have(make_env):
    assert make_env("dev")[0] == ["-e .[dev]"]
    assert make_env()[0] == []


def test_what_was_cut_off_is_begun_afresh_and_what_pip_refused_is_not(make_env):
    told, said = make_env(fails="-e")
    assert told == ["-e .[photos]"] and "installation failed" in said
    (make_env.venv / "rubbish").touch()
    assert make_env()[0] == ["-e .[photos]"] and (make_env.venv / "rubbish").exists()
    (make_env.venv / ".stseg-unfinished").touch()
    told, said = make_env("dev")
    assert told == ["-e .[dev]"] and "cut off" in said
    assert not (make_env.venv / "rubbish").exists()


def test_without_cuda_torch_comes_first_and_from_its_own_index_alone(make_env):
    (first, second), _ = make_env(CPU="1", CPU_INDEX="file:///wheels")
    assert first.startswith("--index-url file:///wheels ") and first.endswith(" torch torchvision")
    assert second == "-e .[photos]"


def test_without_that_index_the_cure_is_named(make_env):
    told, said = make_env(CPU="1", fails="index-url")
    assert len(told) == 1 and "CPU_INDEX" in said and "download.pytorch.org" in said


def test_locked_installs_files_with_hashes_and_no_others(make_env):
    lock = f"dev/lock/{LOCKS[0].stem}"
    run = [f"--no-deps --require-hashes -r {lock}.txt", "--no-deps --no-build-isolation -e ."]
    assert make_env(LOCKED="1")[0] == run
    tools = f"--no-deps --require-hashes -r {lock}-dev.txt"
    assert make_env("dev", LOCKED="1")[0] == [run[0], tools, run[1]]
    told, said = make_env(LOCKED="1", FAKE_LOCK="cp39-sparc")
    assert not told and "there is no dev/lock/cp39-sparc.txt" in said
    assert "expected one of them" in make_env(LOCKED="1", CPU="1")[1]


def entries(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in found}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_a_fitting_version_of_every_requirement(path):
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        path: [*project["dependencies"], "setuptools>=77"],
        path.with_name(f"{path.stem}-dev.txt"): project["optional-dependencies"]["dev"],
    }
    for file, requirements in wanted.items():
        locked = entries(path) | entries(file)  # the second one adds to the first
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])
    python = path.stem.split("-")[0].removeprefix("cp3")
    assert f"Python 3.{python}." in path.read_text().splitlines()[0]


def test_the_image_copies_what_there_is_and_docker_may_see():
    seen = (ROOT / ".dockerignore").read_text()
    text = (ROOT / "docker" / "Dockerfile").read_text()
    copied = [
        name for line in re.findall("^COPY (.*) ", text, re.MULTILINE) for name in line.split()
    ]
    assert {"stseg", "configs", "setup.py"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists() and f"\n!{name.split('/')[0]}\n" in seen, name
