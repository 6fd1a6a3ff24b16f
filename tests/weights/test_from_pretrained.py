"""From a name to a picture: the file comes from a server, has SED's keys, and is what is used."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from stseg import Predictor
from stseg.checkpoint.sed import rename
from stseg.config import setup_cfg
from stseg.modeling.encoders import create_clip, create_sam
from stseg.utils import ASSETS
from stseg.weights import entries, find, resolve
from tests.checkpoint.test_published import TABLES, shapes
from tests.helpers.weight_server import write_table

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "MODEL: {CLIP: {PRETRAINED: random}, WEIGHTS: '', TEXT: {SYNONYMS: mean, CACHE_DIR: ''}}"
FILE = "sed_convnextB.pth"


def published(state, shared_dir):
    """A state under the names of SED's file for ConvNeXt-B, with the tower's depth of its own."""
    table = shapes(shared_dir / "fixtures" / "sed" / TABLES["convnext_base_w_320"])
    theirs = {rename(key): key for key in table}
    tower = {
        "image_encoder.visual.": "clip_model.visual.",
        "text_encoder.tower.clip.": "clip_model.",
    }
    found = {}
    for name, value in state.items():
        for ours, prefix in tower.items():
            if name.startswith(ours):
                key = f"sem_seg_head.predictor.{prefix}{name.removeprefix(ours)}"
                break
        else:
            key = theirs[name]
        assert rename(key) == name
        found[key] = value
    return found


@pytest.fixture
def served(shop, tmp_path, monkeypatch, shared_dir):
    """SED at the sizes of the miniature, its file at the server; the config stands in the table."""
    base = ROOT / "configs" / "mini" / "Base-mini.yaml"
    config = tmp_path / "sed.yaml"
    config.write_text(f"_BASE_: {base}\n{CONFIG}\n")
    table = write_table(tmp_path / "sed.json", shop.url, sed_convnextB={"config": str(config)})
    monkeypatch.setattr(entries, "TABLE", table)
    torch.manual_seed(0)
    content = BytesIO()
    state = build_model(setup_cfg(config, device="cpu")).state_dict()
    torch.save({"model": published(state, shared_dir)}, content)
    shop.files[FILE] = content.getvalue()
    return shop


def answer(predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return predictor(pixels, "star; kite; grass, lawn; sky")


def test_a_published_system_answers_as_its_file_does(served, tmp_path):
    served.cut_after = [len(served.files[FILE]) // 2]
    by_name = answer(Predictor.from_pretrained("sed-convnextB", device="cpu"))
    assert len(served.requests) == 2 and sum(served.sent) == len(served.files[FILE])
    (tmp_path / FILE).write_bytes(served.files[FILE])
    config = find("sed-convnextB").config_file()
    by_file = answer(Predictor(config, weights=str(tmp_path / FILE), device="cpu"))
    assert np.array_equal(by_name.label_map, by_file.label_map)
    assert np.array_equal(by_name.confidence, by_file.confidence)
    assert len(np.unique(by_name.label_map)) > 1
    again = answer(Predictor.from_pretrained("sed-convnextB", device="cpu"))
    assert np.array_equal(again.confidence, by_file.confidence) and len(served.requests) == 2


def test_the_miniature_answers_without_network():
    ours = answer(Predictor.from_pretrained("stseg-mini"))
    assert np.array_equal(
        ours.label_map, answer(Predictor("configs/mini/stseg_mini.yaml")).label_map
    )


def test_encoders_are_no_predictors():
    with pytest.raises(ValueError, match="Give it as MODEL.SAM.CHECKPOINT weights://sam-vit-h"):
        Predictor.from_pretrained("sam-vit-h")


def test_names_stand_for_files_in_the_keys_of_encoders(shop, tmp_path):
    for name, file in (("sam-vit-b", "sam_mini.pt"), ("clip-convnextB", "clip_mini.pt")):
        content = (ASSETS / "small_world" / file).read_bytes()
        shop.files[find(name).file] = content
        assert Path(resolve(f"weights://{name}")).read_bytes() == content
    state = create_clip("convnext_mini", "weights://clip-convnextB").state_dict()
    ours = create_clip("convnext_mini", "stseg://small_world/clip_mini.pt").state_dict()
    assert all(torch.equal(state[key], ours[key]) for key in ours)
    create_sam("mini", "weights://sam-vit-b")
    with pytest.raises(ValueError, match="Did you mean sam-vit-"):
        create_sam("mini", "weights://sam-vit-x")
