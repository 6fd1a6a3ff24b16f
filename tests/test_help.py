"""Every command tells what it does at once: torch and Detectron2 are for those who go on."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("stseg", "demo", "datasets/prepare_scripts", "benchmarks")

#: Children of benchmarks, which get their arguments from them.
NOT_FOR_PEOPLE = {
    "benchmarks/ebseg_case.py",
    "benchmarks/inference_case.py",
    "benchmarks/training_case.py",
}

RUN = """
import runpy, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "detectron2", "open_clip", "timm", "scipy"):
            raise ModuleNotFoundError(f"{name} is imported for --help", name=name)

sys.meta_path.insert(0, Block())
sys.argv = [sys.argv[1], "--help"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def is_command(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(n, ast.If) and "__main__" in ast.unparse(n.test) for n in body)


COMMANDS = ["train_net.py"] + [
    str(path.relative_to(ROOT))
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if is_command(path) and str(path.relative_to(ROOT)) not in NOT_FOR_PEOPLE
]


def test_there_are_commands():
    assert len(COMMANDS) > 32
    assert {"demo/demo.py", "stseg/evaluation/__main__.py", "stseg/data/__main__.py"} < set(
        COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_neither_torch_nor_detectron2(command):
    result = subprocess.run(
        [sys.executable, "-c", RUN, command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: ")
