"""Files are read as data: no suffix makes them run code."""

import os
import pickle
import re

import numpy as np
import pytest
import torch

from stseg.checkpoint.checkpointer import load_for_evaluation
from stseg.checkpoint.reading import read_checkpoint
from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.encoders.sam import create_sam


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", ["pkl", "pyth", "pth", "pt", "bin", "safetensors", "ckpt"])
@pytest.mark.parametrize("by_torch", [False, True])
def test_no_file_runs_code(tmp_path, suffix, by_torch):
    path, trace = tmp_path / f"weights.{suffix}", tmp_path / "it_ran"
    content = {"model": {}, "model_state": {}, "__author__": "x", "y": Bomb(trace)}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    readers = {
        "MODEL.WEIGHTS": lambda: load_for_evaluation(torch.nn.Linear(1, 1), str(path)),
        "MODEL.SAM.CHECKPOINT": lambda: create_sam("mini", str(path)),
        "MODEL.CLIP.PRETRAINED": lambda: create_clip("convnext_mini", str(path)),
        str(path): lambda: read_checkpoint(str(path)),
    }
    for key, read in readers.items():
        with pytest.raises(ValueError) as caught:
            read()
        assert str(caught.value).startswith(f"{key}: expected ")
    assert not trace.exists()


def test_a_run_that_is_resumed_runs_no_code_either(tmp_path):
    (tmp_path / "last_checkpoint").write_text("w.pkl")
    bomb = {"model": {}, "__author__": "x", "y": Bomb(tmp_path / "it_ran")}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match=r"MODEL.WEIGHTS: expected a torch checkpoint"):
        load_for_evaluation(torch.nn.Linear(1, 1), "", str(tmp_path))
    assert not (tmp_path / "it_ran").exists()


STATE = {"weight": torch.arange(4.0).reshape(2, 2), "bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model": STATE, "iteration": 3},
        {"state_dict": STATE},
        {"model": {f"module.{name}": value for name, value in STATE.items()}},
        {"model": {name: value.half() for name, value in STATE.items()}},
        {"model": STATE, "epoch": np.int64(3), "rate": np.float32(0.5), "curve": np.arange(3.0)},
    ],
    ids=["bare", "model", "state_dict", "module", "half", "numpy beside"],
)
@pytest.mark.parametrize("form", ["zip", "old"])
def test_the_usual_forms_of_a_checkpoint_load(tmp_path, content, form):
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    model = torch.nn.Linear(2, 2)
    load_for_evaluation(model, str(path))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_numbers_of_numpy_1_and_2_load_under_either(tmp_path, core):
    path = tmp_path / "old.pth"
    content = {"model": {"w": torch.ones(2)}, "best": np.float64(3.5), "row": np.arange(3)}
    torch.save(content, path, _use_new_zipfile_serialization=False)  # names are lines of it
    saved = path.read_bytes()
    name = b"numpy." + core + b".multiarray"
    path.write_bytes(re.sub(rb"numpy\._?core\.multiarray", name, saved))
    assert name in path.read_bytes()
    read = read_checkpoint(str(path))
    assert read["best"] == 3.5 and read["row"].tolist() == [0, 1, 2]


def test_safetensors_load(tmp_path):
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / "weights.safetensors")
    model = torch.nn.Linear(2, 2)
    load_for_evaluation(model, str(tmp_path / "weights.safetensors"))
    assert torch.equal(model.weight, STATE["weight"])


@pytest.mark.parametrize(
    "content", [[], {}, {"model": {}}, {"a": 1}, {"model": {"a": [1, 2]}}, torch.zeros(2)], ids=repr
)
def test_what_is_no_dict_of_tensors_is_named(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd.pth: expected a dict of tensors"):
        read_checkpoint(str(tmp_path / "odd.pth"))


def test_sam_and_clip_files_of_other_models_or_none_are_named(tmp_path):
    torch.save(STATE, tmp_path / "other.pth")
    for path in (tmp_path / "other.pth", tmp_path / "empty.pth"):
        path.touch()
        with pytest.raises(ValueError, match=r"MODEL.SAM.CHECKPOINT: expected"):
            create_sam("mini", str(path))
        with pytest.raises(ValueError, match=r"MODEL.CLIP.PRETRAINED: expected"):
            create_clip("convnext_mini", str(path))


def test_an_archive_whose_parts_count_as_folders_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": {"weight": torch.arange(60.0)}}, path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02", content.rindex(b"data/0") - 60)
    content[at + 38 : at + 42] = b"\xff" * 4  # torch would read nothing, and give what memory holds
    path.write_bytes(content)
    with pytest.raises(ValueError, match="counts as a folder"):
        read_checkpoint(str(path))
