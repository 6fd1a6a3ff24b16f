"""Class vectors of names with a learnt one beside them: against EBSeg's arrays, and by itself."""

import open_clip
import pytest
import torch
from open_clip import CLIP

from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.encoder import CLIPTextEncoder
from stseg.modeling.text.rest_class import ClassifierWithRest
from stseg.modeling.text.templates import load_templates
from stseg.structures import Vocabulary
from tests.helpers.ebseg_arrays import assert_within, ebseg_arrays, tensor, under

DIM = 16


def token_table():
    """The reference's formula, in float64."""
    i, j = torch.arange(49408.0, dtype=torch.float64)[:, None], torch.arange(16.0).double()
    return (0.37 * i + 0.11 * i * j + 0.9 * j).sin().float()


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return ebseg_arrays(shared_dir, "text_classifier")


@pytest.fixture(scope="module")
def encoder(arrays):
    clip = CLIP(
        embed_dim=DIM,
        vision_cfg={"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": DIM, "heads": 2, "layers": 2},
        quick_gelu=True,
    )
    state = under(arrays, "w/") | {"token_embedding.weight": token_table()}
    state.pop("bg_embed")
    unused = clip.load_state_dict(state, strict=False)
    assert not unused.unexpected_keys
    assert all(key.startswith("visual.") for key in unused.missing_keys)
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    return CLIPTextEncoder(clip, tokenizer, templates=["vild_14"], synonyms="verbatim")


@pytest.fixture(scope="module")
def embeddings(arrays, encoder):
    return encoder(Vocabulary.from_names([str(name) for name in arrays["names"]]))


def test_templates_and_tokens_are_the_published_ones(arrays, encoder):
    assert load_templates("vild_14") == tuple(str(t) for t in arrays["templates"])
    names = [str(name).strip() for name in arrays["names"]]
    prompts = [t.format(name) for t in encoder.templates for name in names]
    tokens = encoder.tokenizer(prompts).unflatten(0, (14, len(names)))
    assert torch.equal(tokens, tensor(arrays["tokens"]))


def test_one_prompt(arrays, encoder):
    found = encoder.encode_prompts(["a photo of a person."])
    assert_within(found, arrays["single_prompt_embedding"])


def test_class_vectors_and_their_likeness(arrays, embeddings):
    vectors = embeddings.mean_over_templates()
    assert_within(vectors, arrays["class_embeddings_mean"])
    assert_within(vectors @ vectors.T, arrays["similarity"])


def test_classifier_with_the_learnt_vector_last(arrays, embeddings):
    classifier = ClassifierWithRest(DIM)
    classifier.load_state_dict({"rest": tensor(arrays["w/bg_embed"])})
    with torch.no_grad():
        assert_within(classifier(embeddings), arrays["classifier_with_background"])


def test_scale_of_the_cosines(encoder):
    assert encoder.logit_scale.item() == pytest.approx(20, abs=1e-4)


def test_the_vector_learns_and_the_words_stay():
    embeds = torch.nn.functional.normalize(torch.randn(3, 2, DIM), dim=-1)
    classifier = ClassifierWithRest(DIM)
    vectors = classifier(ClassEmbeddings(embeds, torch.arange(3), 3))
    assert vectors.shape == (4, DIM)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))
    vectors[:, 0].sum().backward()
    assert classifier.rest.grad.abs().sum() > 0


def test_the_vector_starts_as_long_as_published():
    torch.manual_seed(0)
    assert ClassifierWithRest(4096).rest.norm().item() == pytest.approx(1, abs=0.1)
