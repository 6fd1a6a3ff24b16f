"""The walks of CONTRIBUTING.md name files that are there, and go the way that the code goes."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stseg import Predictor
from stseg.structures import Vocabulary
from stseg.tools.prediction.segment_files import Item, Wanted, segment_files

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def walk(title):
    """(file, text about it) of the numbered lines below a heading."""
    section = PAGE.split(f"## Walk: {title}")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/.]+\.py)`: (.*(?:\n {3,}.*)*)", section, flags=re.MULTILINE)


WALKS = {title: walk(title) for title in re.findall(r"## Walk: (.*)", PAGE)}
IMAGE, TARGET = WALKS.values()
STEPS = [step for steps in WALKS.values() for step in steps]


def definitions(path):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, kinds)}


def test_both_walks_are_read():
    assert len(IMAGE) == 10 and len(TARGET) == 18


@pytest.mark.parametrize(("path", "text"), STEPS, ids=[path for path, _ in STEPS])
def test_a_step_names_what_its_file_defines(path, text):
    named = re.findall(r"`(\w+)`", text.split("; `save`")[0])
    own = definitions(ROOT / path)
    assert named[0] in own
    folder = (ROOT / path).parent
    near = {name for file in folder.glob("*.py") for name in definitions(file)}
    assert set(named) <= near | {"Scores"}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+/[\w.]*)`", PAGE))))
def test_files_and_folders_are_there(path):
    assert (ROOT / path).exists() or (ROOT / "stseg" / path).exists()


def test_an_image_goes_the_way_of_the_walk(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    predictor = Predictor(ROOT / "configs" / "mini" / "stseg_mini.yaml")
    entered: list[str] = []

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            entered.append(str(path.relative_to(ROOT)))

    words = Vocabulary.parse("star; kite")
    sys.setprofile(note)
    try:
        item, wanted = Item(tmp_path / "photo.png", "photo"), Wanted(tmp_path / "out", ("labels",))
        segment_files(predictor, words, [item], wanted)
    finally:
        sys.setprofile(None)
    first = [entered.index(path) for path, _ in IMAGE]
    assert all(a < b for a, b in pairwise(first))
