"""Published checkpoints: every key accounted for, wrong files named for what they look like."""

import pytest
import torch

from stseg.checkpoint import (
    LOADED_NEXT,
    check_fit,
    identify,
    load_for_evaluation,
    spare_encoder_files,
)
from stseg.checkpoint.published import our_names
from stseg.checkpoint.sed import rename
from stseg.config import setup_cfg
from stseg.modeling import build_model
from tests.helpers.tiny_model import register, tiny_ebseg_cfg, tiny_sam
from tests.modeling.test_parity_model import build_sed

TABLES = {
    "convnext_base_w_320": "checkpoint_keys_convnextB.tsv",
    "convnext_large_d_320": "checkpoint_keys_convnextL.tsv",
}


def shapes(path):
    """Key -> shape of a published checkpoint's key table."""
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return {
        key: () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        for key, shape, *_ in rows
    }


def zeros(table):
    """Tensors of those shapes that take no memory."""
    return {
        key: torch.zeros(1).expand(shape or (1,)).reshape(shape) for key, shape in table.items()
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_key_of_seds_files_has_its_place_and_shape(shared_dir, monkeypatch, name):
    table = shapes(shared_dir / "fixtures" / "sed" / TABLES[name])
    assert len(table) in (608, 658)
    # Shapes without numbers, which open_clip would try to move to the CPU.
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *args, **kwargs: module)
    with torch.device("meta"):
        own = build_sed(name).state_dict()
    assert {rename(key): shape for key, shape in table.items()} == {
        key: tuple(value.shape) for key, value in own.items()
    }


@pytest.mark.parametrize("size", ["b", "l"])
def test_every_key_of_ebsegs_files_has_its_place_and_shape(shared_dir, monkeypatch, size):
    table = shapes(shared_dir / "fixtures" / "ebseg" / f"checkpoint_keys_{size}.tsv")
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *args, **kwargs: module)
    opts = ["MODEL.CLIP.PRETRAINED", LOADED_NEXT, "MODEL.SAM.CHECKPOINT", LOADED_NEXT]
    with torch.device("meta"):
        model = build_model(setup_cfg(f"ebseg_vit{size.upper()}", opts, device="meta"))
    found, kind = our_names(zeros(table), "")
    assert kind == "EBSeg" and len(table) - len(found) == 2 + 3  # made anew; there twice
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        key: tuple(value.shape) for key, value in model.state_dict().items()
    }


def test_ebsegs_file_needs_no_encoders_beside_it(shared_dir, tmp_path):
    table = shapes(shared_dir / "fixtures" / "ebseg" / "checkpoint_keys_b.tsv")
    torch.save({"model": zeros(table)}, tmp_path / "ebseg.pth")
    opts = ["MODEL.WEIGHTS", str(tmp_path / "ebseg.pth")]
    cfg = spare_encoder_files(setup_cfg("ebseg_vitB", opts, device="cpu"))
    assert cfg.MODEL.CLIP.PRETRAINED == cfg.MODEL.SAM.CHECKPOINT == LOADED_NEXT


def test_our_own_ebseg_is_no_clip_and_fits(tmp_path):
    register(tmp_path)
    model = build_model(tiny_ebseg_cfg())
    state = model.state_dict()
    assert our_names(state, "") == (state, "")
    check_fit(model, state, "", "")


def test_the_wrong_size_is_named_and_nothing_is_loaded(shared_dir, tmp_path):
    table = shapes(shared_dir / "fixtures" / "sed" / TABLES["convnext_large_d_320"])
    torch.save({"model": zeros(table)}, tmp_path / "large.pth")
    model = build_sed("convnext_base_w_320")
    before = model.head.embed.weight.clone()
    with pytest.raises(ValueError, match=r"SED with convnext_large_d_320.*shapes that differ"):
        load_for_evaluation(model, str(tmp_path / "large.pth"))
    assert (model.head.embed.weight == before).all()


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("catseg/checkpoint_keys_vitb.tsv", "CAT-Seg"),
        ("ebseg/checkpoint_keys_b.tsv", "EBSeg"),
        ("pgseg/checkpoint_keys.tsv", "PGSeg"),
        ("sed/checkpoint_keys_convnextB.tsv", "SED"),
    ],
)
def test_the_peers_files_are_recognised(shared_dir, table, kind):
    assert identify(shapes(shared_dir / "fixtures" / table)) == kind


def test_a_file_of_another_system_is_named(tmp_path):
    torch.save(tiny_sam().state_dict(), tmp_path / "sam.pth")
    with pytest.raises(ValueError, match=r"looks like SAM.*MODEL.SAM.CHECKPOINT"):
        load_for_evaluation(torch.nn.Linear(1, 1), str(tmp_path / "sam.pth"))
    torch.save({"gain": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="got 1 entries that match none"):
        load_for_evaluation(torch.nn.Linear(1, 1), str(tmp_path / "other.pth"))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a torch checkpoint.*broken.pth"):
        load_for_evaluation(torch.nn.Linear(1, 1), str(tmp_path / "broken.pth"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        load_for_evaluation(torch.nn.Linear(1, 1), str(tmp_path / "absent.pth"))


def test_a_checkpoint_that_holds_code_is_refused(tmp_path):
    torch.save({"model": print}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="tensors only"):
        load_for_evaluation(torch.nn.Linear(1, 1), str(tmp_path / "code.pth"))
