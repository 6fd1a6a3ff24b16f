"""Published names of PGSeg's and GroupViT's tensors: every one has its place and shape."""

import pytest
import torch
from open_clip.transformer import QuickGELU, TextTransformer
from torch import nn

from stseg.checkpoint import identify
from stseg.checkpoint.pgseg_names import convert, rename
from stseg.checkpoint.published import our_names
from stseg.modeling.encoders import GroupingTransformer
from stseg.modeling.layers import Projector
from stseg.modeling.text import TextTower
from tests.checkpoint.test_published import shapes, zeros

#: What GroupViT does not have.
ADDED = ("downsample_spatial", "mapping_text", "img_encoder.logit_scale", "Atten.mu")


@pytest.fixture(scope="module")
def table(shared_dir):
    return shapes(shared_dir / "fixtures" / "pgseg" / "checkpoint_keys.tsv")


def published_model():
    """The parts in published size, without numbers, under the names that the whole has."""
    with torch.device("meta"):
        return nn.ModuleDict(
            {
                "image_encoder": GroupingTransformer(),
                "projector": Projector(384, 4096, 256),
                "text_encoder": nn.ModuleDict(
                    {
                        "tower": TextTower(
                            TextTransformer(
                                width=256,
                                heads=4,
                                layers=12,
                                proj_type="none",
                                act_layer=QuickGELU,
                            )
                        ),
                        "projector": Projector(256, 4096, 256),
                    }
                ),
                "text_prototypes": nn.ModuleDict({"map": Projector(384, 4096, 256)}),
            }
        )


def test_every_key_has_its_place_and_shape(table):
    assert len(table) == 437
    found, kind = our_names(zeros(table), "")
    assert kind == "PGSeg" and len(found) == 437
    own = {key: tuple(x.shape) for key, x in published_model().state_dict().items()}
    own |= {"log_scale": (), "prototype_log_scale": (), "text_prototypes.buffer": (1, 8, 1)}
    assert {key: tuple(x.shape) for key, x in found.items()} == own


def test_groupvits_keys_are_those_that_were_not_added(table):
    added = [key for key in table if any(part in key for part in ADDED)]
    assert len(added) == 31
    theirs = {key: shape for key, shape in table.items() if key not in added}
    found, kind = our_names(zeros(theirs), "")
    assert kind == "PGSeg" and len(found) == 406
    new = {key for key in published_model().state_dict() if key not in found}
    assert new == {rename(key) for key in added} - {"prototype_log_scale", "text_prototypes.buffer"}


def test_our_own_names_are_left_alone(table):
    ours = [rename(key) for key in table]
    assert [rename(key) for key in ours] == ours
    assert identify(ours) == "stseg"


def test_widths_of_one_that_are_no_convolutions_stay():
    state = {
        "text_encoder.Atten.mu": torch.zeros(1, 8, 1),
        "img_projector.linear_out.weight": torch.zeros(4, 6, 1),
    }
    found = convert(state)
    assert found["text_prototypes.buffer"].shape == (1, 8, 1)
    assert found["projector.out.weight"].shape == (4, 6)
