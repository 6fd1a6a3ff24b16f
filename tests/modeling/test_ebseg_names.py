"""EBSeg's keys of the mask decoding parts, at full size, without memory for them."""

import csv

import pytest
import torch

from stseg.checkpoint.ebseg_decoders import DERIVED, rename
from stseg.modeling.heads import MaskDecoder, PixelDecoder
from stseg.modeling.layers import MapFusion

SIZES = {"b": {"clip": 768, "class": 512, "heads": 12}, "l": {"clip": 1024, "class": 768,
                                                             "heads": 16}}  # fmt: skip


def published_shapes(shared_dir, size):
    """Shapes under our names."""
    path = shared_dir / "fixtures" / "ebseg" / f"checkpoint_keys_{size}.tsv"
    shapes = {}
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["key"].startswith(("sem_seg_head.", "criterion.")):
                sides = [] if row["shape"] == "scalar" else row["shape"].split("x")
                shapes[rename(row["key"])] = tuple(map(int, sides))
    return shapes


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_full_size_have_the_published_tensors(shared_dir, size):
    facts = SIZES[size]
    with torch.device("meta"):
        parts = torch.nn.ModuleDict(
            {
                "map_fusion": MapFusion([facts["clip"]] * 3, 768),
                "pixel_decoder": PixelDecoder([768] * 4),
                "mask_decoder": MaskDecoder(class_dim=facts["class"], clip_heads=facts["heads"]),
            }
        )
    ours = {key: tuple(value.shape) for key, value in parts.state_dict().items()}
    theirs = published_shapes(shared_dir, size)
    assert [theirs.pop(key) for key in DERIVED] == [(172,)]
    assert ours == theirs


def test_other_keys_stay_as_they_are():
    assert rename("backbone.pos_embed") == "backbone.pos_embed"
