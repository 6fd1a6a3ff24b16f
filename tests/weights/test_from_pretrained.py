"""From a name to a picture: the file comes from a server, has SED's keys, and is what is used."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stseg import Predictor
from stseg.modeling.encoders import create_clip, create_sam
from stseg.utils import ASSETS
from stseg.weights import find, resolve
from tests.helpers.served_sed import FILE


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
