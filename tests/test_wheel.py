"""The package as a wheel, in an empty folder: what it holds, and what README.md says it does."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stseg.utils import config_names
from stseg.weights import PHOTO_NETWORK

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Blocks that begin with ```sh run, in their order: later ones use what earlier ones have made.
BLOCKS = re.findall(r"^```sh run\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in ("stseg", "configs"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, sources)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    command = [sys.executable, "-c", build]
    result = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    shutil.rmtree(sources)
    return folder / result.stdout.split()[-1]


def test_it_has_all_configs_and_what_its_code_reads(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    assert {f"stseg/assets/configs/{name}.yaml" for name in config_names()} < names
    kept = {".py", ".pyi", ".json", ".html", ".css", ".pt", ".pth", ".txt", ".typed"}
    files = {p for p in (ROOT / "stseg").rglob("*") if p.suffix in kept}
    assert not {p.relative_to(ROOT).as_posix() for p in files} - names


@pytest.fixture
def run(wheel, tmp_path):
    """Runs lines of a shell in an empty folder where this wheel, and no checkout, is stseg."""
    site, here = tmp_path / "site", tmp_path / "here"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True, timeout=120)
    here.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STSEG_", "DETECTRON2_"))}
    env = kept | {
        "PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }

    def run(lines):
        return subprocess.run(
            ["bash", "-ec", lines], cwd=here, env=env, capture_output=True, text=True, timeout=300
        )

    where = f"{sys.executable} -c 'import stseg; print(stseg.__file__)'"
    assert run(where).stdout.startswith(str(site))
    run.here = here
    return run


def test_every_block_marked_runnable_runs_where_there_is_nothing_else(run):
    assert len(BLOCKS) >= 5
    for block in BLOCKS:
        result = run(block)
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr and "Warning" not in result.stderr, block
    made = {path.relative_to(run.here).as_posix() for path in run.here.rglob("*")}
    assert {"output/predict/000000_overlay.jpg", "labels/coco/annotations.json"} <= made
    assert {"labels/yolo/data.yaml", "labels/cvat/annotations.xml", "a.html"} <= made
    assert {"output/train/model_final.pth", "output/evaluation/results.json"} <= made
    assert "output/scenes/self_training/rounds.json" in made


def test_a_photograph_is_answered_with_a_picture_and_an_honest_word(run, shared_dir):
    shutil.copy(shared_dir / "data" / "photos" / "cat_chelsea.jpg", run.here / "photo.jpg")
    unsaid = run('stseg predict photo.jpg "cat; sofa" --output unsaid')
    assert "stseg weights get sed-convnextB" in unsaid.stderr
    assert unsaid.returncode == (0 if PHOTO_NETWORK.is_here else 2), unsaid.stderr
    assert (run.here / "unsaid").exists() == PHOTO_NETWORK.is_here
    named = run('stseg predict photo.jpg "cat; sofa" --config stseg_mini')
    assert named.returncode == 0 and (run.here / "output/predict/photo_overlay.jpg").is_file()
    assert "of photographs nothing" in named.stderr and "hardly sure" in named.stdout
