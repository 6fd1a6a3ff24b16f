"""Files of SAM and CLIP as trainings, downloads and disks leave them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stseg.checkpoint import read_checkpoint
from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.encoders.sam import create_sam
from stseg.utils import ASSETS

WORLD = ASSETS / "small_world"
FILES = {
    "MODEL.SAM.CHECKPOINT": (WORLD / "sam_mini.pt", lambda path: create_sam("mini", path)),
    "MODEL.CLIP.PRETRAINED": (
        WORLD / "clip_mini.pt",
        lambda path: create_clip("convnext_mini", path),
    ),
}
both = pytest.mark.parametrize("key", FILES)


def read(key):
    return torch.load(FILES[key][0], map_location="cpu", weights_only=True)


@both
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"module." + name: value for name, value in state.items()},
        lambda state: {"model": state, "optimizer": {"lr": 1.0}},
        lambda state: {"state_dict": state},
        lambda state: {"model": {"module." + name: value for name, value in state.items()}},
        lambda state: {"state_dict": state, "epoch": np.int64(3), "best": np.float64(0.5)},
    ],
    ids=["module", "model", "state_dict", "both", "numpy numbers beside"],
)
def test_wrapped_weights_load_as_they_are(tmp_path, key, wrap):
    path, state = tmp_path / "w.pt", read(key)
    torch.save(wrap(state), path)
    own = FILES[key][1](str(path)).state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())


def damaged(raw, kind):
    middle = len(raw) // 2
    return {
        "empty": b"",
        "page": b"<!DOCTYPE html><html>404 not found</html>",
        "truncated": raw[:middle],
        "flipped": raw[:middle] + bytes([raw[middle] ^ 0x10]) + raw[middle + 1 :],
        "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    }[kind]


@both
@pytest.mark.parametrize("kind", ["empty", "page", "truncated", "flipped", "git-lfs"])
def test_a_damaged_file_is_refused_by_key_and_file(tmp_path, key, kind):
    path = tmp_path / "w.pt"
    path.write_bytes(damaged(FILES[key][0].read_bytes(), kind))
    with pytest.raises(ValueError, match=rf"{key}: expected .*w\.pt") as caught:
        FILES[key][1](str(path))
    assert "weights_only=False" not in str(caught.value)
    said = {"flipped": "checksum", "page": "a web page", "git-lfs": "LFS", "empty": "an empty"}
    assert said.get(kind, "") in str(caught.value)


@both
def test_another_models_file_is_refused(key):
    (other,) = set(FILES) - {key}
    with pytest.raises(ValueError, match=key):
        FILES[key][1](str(FILES[other][0]))


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_one_flipped_bit_of_a_checkpoint_is_noticed_wherever_it_is(tmp_path, place):
    path, raw = tmp_path / "w.pth", bytearray((WORLD / "stseg_mini.pth").read_bytes())
    raw[int(place * len(raw))] ^= 1
    Path(path).write_bytes(raw)
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS: .*(checksum|damaged)"):
        read_checkpoint(str(path), "MODEL.WEIGHTS")
