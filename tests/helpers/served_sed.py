"""SED's published file in small: its keys and its kind of config, at the sizes of the miniature."""

from io import BytesIO
from pathlib import Path

import torch
from detectron2.modeling import build_model

from stseg.checkpoint.sed import rename
from stseg.config import setup_cfg
from tests.checkpoint.test_published import TABLES, shapes
from tests.helpers.weight_server import write_table

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
MODEL:
  CLIP: {PRETRAINED: random}
  WEIGHTS: ""
  STSEG: {IMAGE_SIZE: [64, 64]}
  TEXT: {SYNONYMS: mean, CACHE_DIR: ""}
INPUT: {MIN_SIZE_TEST: 64}
"""
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


def serve_sed(shop, folder, shared_dir):
    """Put the file to the server.

    Returns:
        A table of weights for it, with its config.
    """
    base = ROOT / "configs" / "mini" / "Base-mini.yaml"
    config = folder / "sed.yaml"
    config.write_text(f"_BASE_: {base}\n{CONFIG}")
    torch.manual_seed(0)
    content = BytesIO()
    state = build_model(setup_cfg(config, device="cpu")).state_dict()
    torch.save({"model": published(state, shared_dir)}, content)
    shop.files[FILE] = content.getvalue()
    return write_table(folder / "sed.json", shop.url, sed_convnextB={"config": str(config)})
