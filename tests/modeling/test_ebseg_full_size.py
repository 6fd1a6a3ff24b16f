"""EBSeg with ViT-B at full size against the published one's arrays: slow, 2.5 GB of memory."""

import zlib
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch

from stseg.checkpoint import LOADED_NEXT, load_for_evaluation
from stseg.config import setup_cfg
from stseg.data import load_class_list
from stseg.modeling import build_model
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary
from tests.checkpoint.test_published import shapes
from tests.helpers.ebseg_arrays import assert_within, difference, ebseg_arrays, tensor

TOLERANCE = 1e-4
CONSTANTS = {
    "ov_classifier.logit_scale": np.log(100),
    "sem_seg_head.predictor.logit_scale": 1.25,
    "sem_seg_head.predictor.bias_scaling.weight": 3.0,
}
GAINS = {
    "*predictor.transformer_self_attention_layers.*out_proj.weight": 0.3,
    "*predictor.transformer_cross_attention_layers.*out_proj.weight": 0.3,
    "*predictor.transformer_ffn_layers.*linear2.weight": 0.5,
    "clip_rec_head.resblocks.*attn.proj.weight": 6,
    "ov_classifier.transformer.resblocks.*attn.out_proj.weight": 6,
}
ALIASES = ("ln_post.weight", "ln_post.bias", "proj")


def recipe(key, shape):
    """What the fixtures' README says a tensor is filled with."""
    if key in CONSTANTS:
        return torch.full(shape, CONSTANTS[key])
    if key.removeprefix("clip_rec_head.") in ALIASES:
        key = key.replace("clip_rec_head.", "clip_visual_extractor.")
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    z = np.asarray(z)
    if len(shape) < 2:
        z = 0.2 * z + key.endswith("weight")
    elif key.endswith(("query_feat.weight", "query_embed.weight")):
        z = 2 * z
    elif key != "ov_classifier.token_embedding.weight":
        gain = next((g for pattern, g in GAINS.items() if fnmatchcase(key, pattern)), 1)
        z = z * gain / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(z.astype(np.float32))


@pytest.mark.slow
@torch.no_grad()
def test_vit_b_at_full_size(shared_dir, tmp_path):
    arrays = ebseg_arrays(shared_dir, "full_size_b")
    table = shapes(shared_dir / "fixtures" / "ebseg" / "checkpoint_keys_b.tsv")
    state = {key: recipe(key, shape) for key, shape in table.items()}
    probes = zip(arrays["weight_probe_key"], arrays["weight_probe_values"], strict=True)
    for key, values in probes:
        assert torch.equal(state[str(key)].flatten()[:4], tensor(values))
    torch.save({"model": state}, tmp_path / "EBSeg_base.pth")
    del state
    opts = ["MODEL.CLIP.PRETRAINED", LOADED_NEXT, "MODEL.SAM.CHECKPOINT", LOADED_NEXT]
    opts += ["MODEL.TEXT.CACHE_DIR", ""]
    model = build_model(setup_cfg("ebseg_vitB", opts, device="cpu")).eval()
    load_for_evaluation(model, str(tmp_path / "EBSeg_base.pth"))

    voc = Vocabulary.from_names([*load_class_list("voc_20")[:-1], "tv"])
    classifier = model.classifier(model.embed(voc))
    assert_within(classifier, arrays["class_embeddings_from_text"], TOLERANCE)
    given = tensor(arrays["class_embeddings"])[:20, None]
    embeddings = ClassEmbeddings(given, torch.arange(20), 20)
    assert_within(model.classifier(embeddings), arrays["class_embeddings"], TOLERANCE)
    features = model.encode([tensor(arrays["image"]).float()])
    tensors = features.tensors
    assert_within(tensors["mask_logits"][:, ::5], arrays["mask_logits"], TOLERANCE)
    assert_within(tensors["class_embeds"], arrays["decoder_embeddings"], TOLERANCE)
    assert_within(tensors["masked_embeds"], arrays["masked_attn_embeddings"], TOLERANCE)
    (scores,) = model.score(features, embeddings, voc.with_seen(list(voc.names)))
    height, width = arrays["output_size"].tolist()
    found = scores.at((height, width)).take(torch.arange(20), (0, height), (0, width))
    assert difference(found[:, ::3, ::3], arrays["score_stride3"]) <= TOLERANCE
