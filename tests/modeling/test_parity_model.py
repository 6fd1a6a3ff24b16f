"""Parity with SED: image tower, text side, post-processing and the whole ConvNeXt-B model.

The references were made by running the published implementation (see fixtures/sed/README.md).
"""

import importlib.util

import open_clip
import pytest
import torch
from detectron2.config import get_cfg
from open_clip import CLIP
from open_clip.timm_model import TimmModel
from timm.layers import Mlp
from timm.models.convnext import ConvNeXt
from torch.nn import functional as F

from stseg.checkpoint import load_for_evaluation
from stseg.config import add_stseg_config
from stseg.modeling.encoders.towers import wrap_image_tower
from stseg.modeling.meta_arch.base import OpenVocabSegmentor
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.modeling.scores.batches import resize
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.encoder import CLIPTextEncoder
from stseg.modeling.text.templates import load_templates
from stseg.structures import Vocabulary
from tests.helpers.parity import assert_close, tensor


def _tower(projection):
    """Stock tower of open_clip with the reference's depths and widths."""
    tower = TimmModel(
        "test_convnext", embed_dim=20, pool="", proj=projection, pretrained=False, image_size=64
    )
    tower.trunk = ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=0)
    tower.head[-1] = (
        torch.nn.Linear(32, 20, bias=False)
        if projection == "linear"
        else Mlp(32, 40, 20, bias=(True, False))
    )
    return tower


@pytest.mark.parametrize("projection", ["linear", "mlp"])
def test_image_tower_matches(fixture, projection):
    arrays = fixture("encoder_small")
    tower = _tower(projection)
    prefix = f"w:{projection}:"
    tower.load_state_dict(
        {k.removeprefix(prefix): tensor(v) for k, v in arrays.items() if k.startswith(prefix)}
    )
    encoder = wrap_image_tower(tower).eval()
    out = encoder.encode(tensor(arrays["image"]))
    for name in ("res2", "res3", "res4", "res5"):
        assert_close(out[name], arrays[f"{projection}:{name}"])
    assert_close(out["dense"], arrays[f"{projection}:clip_vis_dense"])


def test_text_embeddings_match(fixture):
    arrays = fixture("text_embed")
    clip = CLIP(
        embed_dim=20,
        vision_cfg={"timm_model_name": "test_convnext", "timm_proj": "linear", "image_size": 64},
        text_cfg={"context_length": 16, "vocab_size": 60, "width": 32, "heads": 4, "layers": 2},
    )
    state = {k[2:]: tensor(v) for k, v in arrays.items() if k.startswith("w:")}
    unused = clip.load_state_dict(state, strict=False)
    assert not unused.unexpected_keys
    assert all(k.startswith(("visual.", "logit_scale")) for k in unused.missing_keys)

    vocabulary = Vocabulary.from_names([str(n) for n in arrays["names"]])
    templates = [str(t) for t in arrays["templates"]]
    ids = {}
    for i, synonyms in enumerate(vocabulary.synonyms):
        texts = [t.format(name) for t in templates for name in synonyms]
        ids.update(zip(texts, tensor(arrays[f"tokens{i}"]), strict=True))

    def tokenizer(texts):
        return torch.stack([ids.get(text, torch.arange(16)) for text in texts])

    encoder = CLIPTextEncoder(clip, tokenizer, templates=templates, synonyms="mean", chunk_size=5)
    embeddings = encoder(vocabulary)
    assert_close(embeddings.embeds, arrays["text_feat"])
    first = [t.format(vocabulary.names[0]) for t in templates]
    assert_close(encoder.encode_prompts(first), F.normalize(tensor(arrays["encode_text0"]), dim=-1))


def test_tokenizer_and_templates_match(fixture):
    arrays = fixture("tokens")
    assert load_templates("imagenet_80") == tuple(str(t) for t in arrays["templates"])
    tokenizer = open_clip.get_tokenizer("convnext_base_w_320")
    tokens = tokenizer([str(p) for p in arrays["prompts"]])
    assert (tokens.numpy() == arrays["tokens"]).all()


class FixedScores(OpenVocabSegmentor):
    """A network that answers with given logits and remembers what it saw."""

    def __init__(self, logits, **kwargs):
        super().__init__(text_encoder=lambda vocabulary: None, criterion=None, **kwargs)
        self.encoder = wrap_image_tower(_tower("linear"))
        self.fixed = logits
        self.seen = None

    def extract(self, images):
        self.seen = (images - self.encoder.pixel_mean) / self.encoder.pixel_std
        return {}

    def logits(self, features, embeddings, seen=None):
        return (self.fixed,)


@pytest.mark.parametrize("case", ["plain", "small"])
def test_preparation_and_post_processing_match(fixture, case):
    arrays = fixture("postprocess")
    logits = tensor(arrays["logits"])
    image = tensor(arrays[f"{case}_image"])
    if case == "small":
        # SED crops the 48-cell map by the image's 40 pixels, a slip that cuts off scores. Ours
        # does not; given the cropped logits the two agree.
        logits = logits[:, :, : image.shape[1], : image.shape[2]]
    model = FixedScores(logits, image_size=(96, 96)).eval()
    height, width = arrays[f"{case}_hw"].tolist()
    item = {"image": image, "height": height, "width": width}
    (out,) = model([{**item, "vocabulary": Vocabulary.parse("a; b; c; d")}])
    assert_close(model.seen, arrays[f"{case}_encoder_in"])
    assert_close(out["sem_seg"], arrays[f"{case}_sem_seg"])


def _recipe(shared_dir):
    spec = importlib.util.spec_from_file_location(
        "recipe", shared_dir / "fixtures" / "sed" / "recipe.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_whole_model_matches(fixture, shared_dir, tmp_path):
    """ConvNeXt-B at 768 x 768 through the published key names, early rejection and all."""
    arrays, recipe = fixture("e2e_convnextB"), _recipe(shared_dir)
    table = (shared_dir / "fixtures/sed/checkpoint_keys_convnextB.tsv").read_text().splitlines()
    state = {}
    for key, shape, *_ in (line.split("\t") for line in table[1:]):
        sizes = () if shape == "scalar" else tuple(int(n) for n in shape.split("x"))
        state[key] = tensor(recipe.recipe(key, sizes)).reshape(sizes)
    torch.save({"model": state}, tmp_path / "sed.pth")

    model = build_sed()
    load_for_evaluation(model, str(tmp_path / "sed.pth"))
    model.eval()
    tokens = model.text_encoder.tokenizer([str(p) for p in arrays["prompts"]])
    assert (tokens.numpy() == arrays["prompt_tokens"]).all()
    with torch.no_grad():
        text = model.text_encoder.tower(tokens)
    assert (text - tensor(arrays["encode_text"])).abs().max() < 2e-4  # its range is +-5

    text_feats = tensor(recipe.text_features(12, 640))
    assert_close(text_feats[:, ::16, ::32], arrays["text_feat_sub"])
    embeddings = ClassEmbeddings(text_feats, torch.arange(12), 12)
    model.text_encoder.forward = lambda vocabulary: embeddings
    height, width = arrays["hw"].tolist()
    vocabulary = Vocabulary.from_names([f"class {i}" for i in range(12)])
    item = {"image": tensor(arrays["image"]), "height": height, "width": width}
    item["vocabulary"] = vocabulary

    outputs, feats = [], {}
    hooks = [
        model.head.register_forward_hook(lambda m, a, out: outputs.append(out)),
        model.image_encoder.register_forward_hook(lambda m, a, out: feats.update(out)),
    ]
    with torch.no_grad():
        model([item])

    def published(logits):
        # The crop by the image's size (96 x 128) on the 192-cell map is SED's slip, see above.
        probs = logits.sigmoid()[:, :, : item["image"].shape[1], : item["image"].shape[2]]
        return resize(probs, (height, width))[0]

    assert_close(published(outputs[0][0]), arrays["sem_seg"])
    for name in ("res2", "res3", "res4", "res5", "dense"):
        theirs = "clip_vis_dense" if name == "dense" else name
        step = [max(1, n // k) for n, k in zip(feats[name].shape[1:], (64, 6, 6), strict=True)]
        ours = feats[name][:, :: step[0], :: step[1], :: step[2]]
        reference = tensor(arrays[f"sub:{theirs}"])
        ours = ours[:, : reference.shape[1], : reference.shape[2], : reference.shape[3]]
        assert (ours - reference).abs().max() < 1e-4 * max(1.0, float(arrays[f"std:{theirs}"][0]))
    for i, out in enumerate(outputs[0]):
        step = out.shape[-1] // 24
        assert_close(out[:, :, ::step, ::step], arrays[f"out{i}_sub"])

    hooks[1].remove()
    model.head.rejection_topk = 1
    with torch.no_grad():
        model([item])
    assert_close(published(outputs[1][0]), arrays["sem_seg_fast_k1"])


def build_sed(name="convnext_base_w_320"):
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.NAME = name
    cfg.MODEL.CLIP.PRETRAINED = "random"
    cfg.MODEL.TEXT.CACHE_DIR = ""
    cfg.MODEL.STSEG.DEA.ENABLED = False
    return STSeg(cfg)
