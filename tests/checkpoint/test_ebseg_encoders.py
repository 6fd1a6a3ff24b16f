"""Every key of EBSeg's encoders has its place and shape."""

import open_clip
import pytest
import torch
from open_clip import CLIP
from segment_anything import sam_model_registry

from stseg.checkpoint import ebseg_encoders, identify
from stseg.modeling.encoders.sam_pyramid import SAMPyramid
from stseg.modeling.encoders.split_vit import SplitViT
from stseg.modeling.text.encoder import CLIPTextEncoder
from stseg.modeling.text.rest_class import ClassifierWithRest
from tests.checkpoint.test_published import shapes

OURS = ("clip_visual_extractor.", "clip_rec_head.", "ov_classifier.", "backbone.")


def own_shapes(clip_name, lower, values_from):
    """Of the encoders as the published settings make them, without memory."""
    with torch.device("meta"):
        config = open_clip.get_model_config(clip_name)
        clip = CLIP(**config)
        parts = {
            "image_encoder": SplitViT(
                clip.visual, lower=lower, taps=(lower // 3, lower), values_from=values_from
            ),
            "text_encoder": CLIPTextEncoder(clip, open_clip.tokenize),
            "classifier": ClassifierWithRest(config["embed_dim"]),
            "sam_encoder": SAMPyramid(sam_model_registry["vit_b"]().image_encoder),
        }
    return {
        f"{part}.{key}": tuple(value.shape)
        for part, module in parts.items()
        for key, value in module.state_dict().items()
    }


@pytest.mark.parametrize(
    ("table", "clip_name", "lower", "values_from"),
    [("b", "ViT-B-16-quickgelu", 9, 2), ("l", "ViT-L-14-336-quickgelu", 18, 4)],
)
def test_every_key_has_its_place_and_shape(shared_dir, table, clip_name, lower, values_from):
    published = shapes(shared_dir / "fixtures" / "ebseg" / f"checkpoint_keys_{table}.tsv")
    assert identify(published) == "EBSeg"
    assert ebseg_encoders.lower_depth(published) == lower
    published.pop(ebseg_encoders.LEFT_OUT)
    encoders = {key: shape for key, shape in published.items() if key.startswith(OURS)}
    found = {ebseg_encoders.rename(key, lower): shape for key, shape in encoders.items()}
    assert len(encoders) - len(found) == 3  # the norm and the projection that lie there twice
    assert found == own_shapes(clip_name, lower, values_from)


def test_keys_of_other_parts_keep_their_names():
    key = "sem_seg_head.predictor.attn.proj.weight"
    assert ebseg_encoders.rename(key, 9) == key
    assert ebseg_encoders.lower_depth([key]) == 0


def test_of_what_lies_there_twice_the_second_wins():
    keys = ("clip_visual_extractor.proj", "clip_rec_head.proj")
    assert {ebseg_encoders.rename(key, 9) for key in keys} == {"image_encoder.visual.proj"}
