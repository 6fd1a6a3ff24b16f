"""EBSeg at the sizes of the reference's small model, and its weights as a published file."""

import open_clip
import torch
from open_clip import CLIP

from stseg.modeling.encoders import SAMPyramid, SplitViT
from stseg.modeling.heads import EmbeddingBalance, MaskDecoder, PixelDecoder
from stseg.modeling.layers import MapFusion
from stseg.modeling.losses import HungarianMatcher, SetCriterion
from stseg.modeling.meta_arch.ebseg import LOSS_WEIGHTS, EBSeg
from stseg.modeling.text import ClassifierWithRest, CLIPTextEncoder
from tests.helpers.ebseg_arrays import under
from tests.modeling.test_rest_class import token_table
from tests.modeling.test_sam_pyramid import four_globals

DIM = 16
_VISION = {"image_size": 32, "layers": 6, "width": 24, "head_width": 6, "patch_size": 8}
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": DIM, "heads": 2, "layers": 2}


def small_ebseg(points=None):
    """The model; `points` are the criterion's and its matcher's."""
    clip = CLIP(embed_dim=DIM, vision_cfg=_VISION, text_cfg=_TEXT, quick_gelu=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    return EBSeg(
        image_encoder=SplitViT(clip.visual, lower=4, taps=(2, 3, 4), values_from=1),
        sam_encoder=SAMPyramid(four_globals()),
        map_fusion=MapFusion([24] * 3, 24),
        pixel_decoder=PixelDecoder(
            [24] * 4, dim=32, mask_dim=32, num_layers=2, num_heads=4, ffn_dim=48
        ),
        mask_decoder=MaskDecoder(
            dim=32,
            num_queries=5,
            num_layers=4,
            num_heads=4,
            ffn_dim=48,
            class_dim=DIM,
            clip_heads=4,
        ),
        classifier=ClassifierWithRest(DIM),
        balance=EmbeddingBalance(0.09, 0.3, 0.7),
        text_encoder=CLIPTextEncoder(clip, tokenizer, templates=["vild_14"], synonyms="verbatim"),
        criterion=SetCriterion(
            weights=LOSS_WEIGHTS, points=points, matcher=HungarianMatcher(points=points)
        ),
    )


def published_state(arrays):
    """Tensors of the arrays as a published file has them, with what the arrays leave out."""
    made_anew = {
        "ov_classifier.token_embedding.weight": token_table(),
        "ov_classifier.attn_mask": torch.full((77, 77), -torch.inf).triu(1),
    }
    state = under(arrays, "w/") | made_anew
    shared = {f"clip_rec_head.{key}": state[f"clip_visual_extractor.{key}"]
              for key in ("ln_post.weight", "ln_post.bias", "proj")}  # fmt: skip
    return state | shared
