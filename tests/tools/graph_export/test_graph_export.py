"""Networks as graphs: what is refused and why, what is written, and what readers make of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from demo.onnx_labels import read_labels
from stseg.cli import stseg_command
from stseg.modeling.meta_arch import CEL, EBSeg, PGSeg, STSeg, export_answer_graphs
from stseg.modeling.scores import CellScores, GroupScores, LabelMap, QueryScores, SoftmaxScores
from stseg.structures import Vocabulary
from stseg.tools.graph_export import about_graphs, graph_formats, write_graphs, write_words
from tests.helpers.tiny_model import (
    register,
    tiny_cel_cfg,
    tiny_cfg,
    tiny_ebseg_cfg,
    tiny_pgseg_cfg,
)

ROOT = Path(__file__).resolve().parents[3]
WORDS = Vocabulary.parse("cat, kitten; dog; tree, bush")


@pytest.fixture(autouse=True, scope="module")
def tiny_models(tmp_path_factory):
    register(tmp_path_factory.mktemp("open_clip"))


def built(kind, cfg, **changes):
    torch.manual_seed(0)
    cfg = cfg(MODEL__TEXT__TEMPLATES=["single", "{}"], **changes)
    return kind(cfg).eval(), cfg


def test_help_needs_no_torch():
    code = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
    code += "from stseg.cli import stseg_command; stseg_command(['export', '--help'])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: stseg export")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ([], "expected --format, --words or --vocabulary, got none"),
        (["--format", "onnx", "--size", "1", "8"], "--size: expected 2 pixels or more, got 1 8"),
        (["--words", "a", "--vocabulary", "b.txt"], "not allowed with"),
    ],
)
def test_wrong_use_is_told_before_anything_is_loaded(rest, said, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        stseg_command(["export", "--output", str(tmp_path), *rest])
    assert said in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_cure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(graph_formats, "is_installed", lambda name: name != "onnxscript")
    with pytest.raises(SystemExit, match="1"):
        stseg_command(["export", "--format", "onnx", "--output", str(tmp_path)])
    told = capsys.readouterr().err
    assert "expected onnxscript, not installed here" in told
    assert "pip install 'stseg[onnx]'" in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "cfg", "reading"),
    [
        (STSeg, tiny_cfg, "sigmoid"),
        (CEL, tiny_cel_cfg, "masks"),
        (EBSeg, tiny_ebseg_cfg, "masks"),
        (PGSeg, tiny_pgseg_cfg, "groups"),
    ],
)
def test_every_system_says_how_its_answer_is_read(kind, cfg, reading):
    model, cfg = built(kind, cfg)
    about = about_graphs(model, cfg, (64, 96))
    assert about.size == (64, 96) and about.system == kind.__name__ and about.reading == reading
    assert bool(about.mask_stride) == (reading == "masks")
    assert (about.working_size is None) == (reading == "masks")
    assert len(about.pixel_mean) == len(about.pixel_std) == (3 if kind in (CEL, PGSeg) else 0)
    json.dumps(about.entry())


@pytest.mark.parametrize(("kind", "cfg"), [(CEL, tiny_cel_cfg), (EBSeg, tiny_ebseg_cfg)])
def test_a_system_without_a_working_size_asks_for_one_and_says_why(kind, cfg):
    model, cfg = built(kind, cfg)
    said = f"{kind.__name__}, which pads every picture and works at its size"
    with pytest.raises(ValueError, match=f"--size: .* {said}.* Append --size H W"):
        about_graphs(model, cfg, None)
    with pytest.raises(ValueError, match=f"size: .* {said}"):
        export_answer_graphs(model, None, outputs=2)


def test_what_has_no_graphs_is_told_so():
    model, cfg = built(PGSeg, tiny_pgseg_cfg, TEST__SLIDING_WINDOW__ENABLED=True)
    with pytest.raises(ValueError, match="Append TEST.SLIDING_WINDOW.ENABLED False"):
        about_graphs(model, cfg, None)
    cfg.MODEL.META_ARCHITECTURE = "SemanticSegmentor"
    with pytest.raises(ValueError, match="got SemanticSegmentor, which is no such system"):
        about_graphs(nn.Identity(), cfg, None)


def test_words_are_written_with_what_the_graph_of_scores_takes(tmp_path):
    model, _ = built(STSeg, tiny_cfg)
    write_words(model, WORDS, tmp_path / "words.npz")
    with np.load(tmp_path / "words.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == ["cat", "dog", "tree"]
        assert found["classes"].tolist() == [0, 0, 1, 2, 2]
        assert found["seen"].tolist() == [False] * 3
        np.testing.assert_array_equal(found["embeds"], model.embed(WORDS).embeds.numpy())


def test_a_class_without_words_is_refused_where_the_graph_cannot_have_it(tmp_path):
    model, _ = built(PGSeg, tiny_pgseg_cfg)
    words = Vocabulary(WORDS.names, WORDS.synonyms, rest=1)
    with pytest.raises(ValueError, match="expected words for every class of PGSeg"):
        write_words(model, words, tmp_path / "words.npz")


def test_graphs_of_torch_export_say_what_they_are_and_answer_any_picture_and_words(tmp_path):
    model, cfg = built(PGSeg, tiny_pgseg_cfg)
    encode, logits = write_graphs(model, cfg, tmp_path, "torch.export")
    extra = {"stseg": ""}
    see = torch.export.load(encode, extra_files=extra).module()
    about = json.loads(extra["stseg"])
    assert about["reading"] == "groups" and about["working_size"] == [32, 32]
    say = torch.export.load(logits).module()
    with torch.no_grad():
        for words, size in ((WORDS, (40, 57)), (Vocabulary.parse("sky"), (21, 70))):
            image, embeds = 255 * torch.rand(3, *size), model.embed(words)
            features = see(image)
            ours = say(features, embeds.embeds, embeds.class_index, torch.zeros(len(words)) > 0)
            theirs = model.logits(model.encode([image]).tensors, embeds)
            for x, y in zip(ours, theirs, strict=True):
                torch.testing.assert_close(x, y, atol=1e-4, rtol=0)


def arrays(*tensors):
    return [x[None].numpy() for x in tensors]


@pytest.mark.parametrize("size", [(30, 41), (6, 9), (150, 8)])
@pytest.mark.parametrize("reading", ["sigmoid", "softmax", "masks", "groups"])
def test_the_demo_reads_every_answer_as_the_systems_do(reading, size):
    torch.manual_seed(1)
    maps, rows = 4 * torch.randn(7, 6, 9), torch.rand(7, 5)
    seen, about = (21, 33), {"reading": reading, "mask_stride": 4}
    if reading in ("sigmoid", "softmax"):
        scores, outputs = (CellScores if reading == "sigmoid" else SoftmaxScores)(maps), (maps,)
    elif reading == "masks":
        scores, outputs = QueryScores(maps, rows, (24, 36), seen), (maps, rows)
    else:
        scores, outputs = GroupScores(maps.sigmoid(), rows), (maps.sigmoid(), rows)
    expected = LabelMap.read(scores.at(size)).labels.numpy()
    found = read_labels(arrays(*outputs), about, seen, size)
    assert len(np.unique(expected)) > 1 and (found != expected).mean() <= 1e-3
