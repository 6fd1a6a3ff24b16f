"""How threads wait is set where torch will read it, and a user's own word counts."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stseg.utils.threads import share_processors

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def told(command, **environment):
    """What a command prints in an environment that says nothing of threads but this."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_package_sets_the_default_before_torch_is_loaded():
    code = "import stseg, sys, os; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    assert told([sys.executable, "-c", code]).endswith("False 10000")


@pytest.fixture
def unloaded(monkeypatch):
    """As before torch is loaded, with nothing said of threads."""
    monkeypatch.delitem(sys.modules, "torch")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    monkeypatch.undo()


def test_what_a_user_has_set_stays(unloaded):
    unloaded.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_processors()
    assert "GOMP_SPINCOUNT" not in os.environ
    unloaded.setenv("GOMP_SPINCOUNT", "7")
    unloaded.delenv("OMP_WAIT_POLICY")
    share_processors()
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_after_torch_is_loaded_nothing_is_set_that_it_would_not_read(unloaded):
    unloaded.setitem(sys.modules, "torch", sys)
    share_processors()
    assert "GOMP_SPINCOUNT" not in os.environ
    unloaded.delitem(sys.modules, "torch")
    unloaded.setenv("GOMP_SPINCOUNT", "")  # so that it is forgotten in the end
    unloaded.delenv("GOMP_SPINCOUNT")
    share_processors()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


def test_make_sets_the_same():
    rule = "include Makefile\\nshow:\\n\\t@echo count $${GOMP_SPINCOUNT}"
    command = ["sh", "-c", f"printf '%b' '{rule}' | make -s -f - show"]
    assert told(command) == "count 10000"
    assert told(command, OMP_WAIT_POLICY="PASSIVE") == "count"
    assert told(command, GOMP_SPINCOUNT="7") == "count 7"


@pytest.mark.parametrize("script", ["train_net.py", "demo/demo.py"])
def test_scripts_import_the_package_before_what_loads_torch(script):
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    names = [
        node.names[0].name if isinstance(node, ast.Import) else node.module
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    foreign = [name.split(".")[0] for name in names]
    foreign = [name for name in foreign if name not in sys.stdlib_module_names]
    assert set(foreign[: foreign.index("stseg")]) <= {"tqdm"}
