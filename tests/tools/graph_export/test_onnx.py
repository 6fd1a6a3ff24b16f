"""ONNX beside PyTorch, and a label map without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stseg import Predictor
from stseg.cli import stseg_command
from stseg.config import setup_cfg
from stseg.modeling import build_model
from stseg.small_world import CLASS_NAMES, render
from stseg.structures import Vocabulary
from stseg.tools.graph_export import write_graphs, write_words
from tests.helpers.tiny_model import register, tiny_ebseg_cfg

pytestmark = pytest.mark.slow
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[3]
#: Picture sizes; a system that works at the size of each picture has graphs of the first alone.
SIZES = [(96, 128), (61, 150), (200, 33)]
BLOCKED = """
import runpy, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "detectron2", "stseg", "cv2", "scipy"):
            raise ModuleNotFoundError(f"{name} is not for this program", name=name)

sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def config_of(system, folder):
    if system == "EBSeg":
        register(folder)
        return tiny_ebseg_cfg(MODEL__TEXT__TEMPLATES=["single"])
    name = {"STSeg": "stseg_mini"}.get(system, f"small_world_{system.lower()}")
    return setup_cfg(name, ["MODEL.TEXT.CACHE_DIR", ""], device="cpu")


@pytest.fixture(scope="module", params=["STSeg", "CEL", "PGSeg", "EBSeg"])
def pair(request, tmp_path_factory):
    """A model and sessions of both graphs."""
    folder = tmp_path_factory.mktemp(request.param)
    cfg = config_of(request.param, folder)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    size = SIZES[0] if request.param in ("CEL", "EBSeg") else None
    files = write_graphs(model, cfg, folder, "onnx", size)
    return model, size, *(onnxruntime.InferenceSession(file) for file in files)


@torch.no_grad()
def test_it_answers_any_words_on_any_picture_as_pytorch_does(pair, tmp_path):
    model, fixed, encode, logits = pair
    about = json.loads(encode.get_modelmeta().custom_metadata_map["stseg"])
    assert about == json.loads(logits.get_modelmeta().custom_metadata_map["stseg"])
    assert about["system"] == type(model).__name__
    lists = ["cat, kitten; dog; tree", *([f"thing {i}" for i in range(n)] for n in (1, 20, 847))]
    for words in map(Vocabulary.parse, lists):
        write_words(model, words, tmp_path / "words.npz")
        embeddings, marks = model.embed(words), model.seen_marks(words)
        sizes = [fixed] if fixed else SIZES[: 1 if len(words) == 847 else None]
        for size in sizes:
            image = 255 * torch.rand(3, *size)
            seen = model.encode([image]).tensors
            theirs = model.logits(seen, embeddings, marks)
            features = encode.run(about["features"], {"image": image.numpy()})
            asked = dict(zip(about["features"], features, strict=True))
            asked |= np.load(tmp_path / "words.npz")
            given = {x.name: asked[x.name] for x in logits.get_inputs()}
            outputs = logits.run(about["outputs"], given)
            assert outputs[-1].shape[about["class_axis"]] == len(words)
            for ours, other in zip(outputs, theirs, strict=False):  # others only teach
                np.testing.assert_allclose(ours, other.numpy(), atol=1e-4, rtol=0)


def test_a_program_without_torch_labels_a_picture_as_predict_does(tmp_path):
    scene = render(seed=3, index=0).image[:100]
    Image.fromarray(scene).save(tmp_path / "scene.png")
    words = "; ".join(CLASS_NAMES)
    flags = ["--config", "stseg_mini", "--words", words, "--output", str(tmp_path / "graphs")]
    assert stseg_command(["export", "--format", "onnx", *flags]) == 0
    script = [sys.executable, "-c", BLOCKED, "demo/onnx_labels.py", str(tmp_path / "graphs")]
    script += [str(tmp_path / "scene.png"), str(tmp_path / "labels.png")]
    result = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = np.asarray(Image.open(tmp_path / "labels.png"))
    expected = Predictor("stseg_mini", device="cpu")(tmp_path / "scene.png", words).label_map
    assert len(np.unique(expected)) > 2
    assert found.shape == expected.shape and (found != expected).mean() <= 1e-3
