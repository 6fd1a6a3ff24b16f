"""The workflow for other machines says what the package says of itself."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "build.yml").read_text("utf-8"))


def commands(job):
    return " ".join(step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"])


def test_every_python_that_is_supported_is_tested_from_the_oldest_on():
    pythons = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert pythons == ["3.10", "3.11", "3.12", "3.13"] and pythons[0] == oldest


def test_it_runs_what_a_developer_runs_and_builds_wheel_and_pages():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = re.findall(r"make ((?:[\w=]+ ?)+)", commands("test") + " " + commands("build"))
    targets = {word for line in asked for word in line.split() if "=" not in word}
    assert targets >= {"check", "test", "docs"}
    assert all(f"\n{target}:" in makefile for target in targets - {"python"})
    assert "pip wheel" in commands("build") and "stseg.__version__" in commands("build")
