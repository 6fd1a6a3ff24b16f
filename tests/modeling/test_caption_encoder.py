"""A text tower that trains: recorded features, rows of names, captions as they come, the cache."""

import re
import zlib

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stseg.modeling.layers import Projector
from stseg.modeling.text import CaptionTextEncoder
from stseg.structures import Vocabulary
from tests.helpers.pgseg_image import load
from tests.helpers.pgseg_text import text_state

TOLERANCE = {"atol": 1e-5, "rtol": 0}
CONTEXT, IDS, START, END = 12, 60, 58, 59
VOCABULARY = Vocabulary.parse("cat, kitten; dog; traffic light")
TEMPLATES = ("a {}.", "one {} in the snow.")


def tokens_of(texts):
    """A tokenizer of few ids: a word's by its letters, cut as CLIP's."""
    rows = torch.zeros(len(texts), CONTEXT, dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        words = re.findall(r"\w+|[^\w\s]", text)[: CONTEXT - 2]
        ids = [START, *(1 + zlib.crc32(word.encode()) % (START - 1) for word in words), END]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def encoder(tokenizer=tokens_of, projector=None, **settings):
    torch.manual_seed(0)
    sizes = {"width": 32, "heads": 2, "layers": 2, "context_length": CONTEXT, "vocab_size": IDS}
    projector = projector or Projector(settings.get("width", 32), 24, 8)
    settings = sizes | {"templates": TEMPLATES} | settings
    return CaptionTextEncoder(tokenizer, projector=projector, **settings)


def count_passes(module):
    """A list that grows by the number of prompts of every pass of the tower."""
    passes = []
    module.tower.register_forward_hook(lambda module, args, out: passes.append(len(out)))
    return passes


# --- recorded ---


@pytest.fixture
def recorded(pgseg_fixture):
    """The arrays, and the encoder that they are of, whatever text it is given."""
    arrays = pgseg_fixture("tiny_model")
    module = encoder(lambda texts: arrays["token_ids"], Projector(128, 48, 24), width=128, layers=1)
    load(module, text_state(arrays))
    return arrays, module.eval()


def test_recorded_features(recorded):
    arrays, module = recorded
    found = module.encode_captions(["one", "two"])
    torch.testing.assert_close(found.features, arrays["text_feature"], **TOLERANCE)
    torch.testing.assert_close(found.embeds, arrays["text_embedding"], **TOLERANCE)


def test_prompts_of_recorded_ids(recorded):
    arrays, module = recorded
    found = module.encode_prompts(["one", "two"])
    torch.testing.assert_close(found, F.normalize(arrays["text_embedding"], dim=-1), **TOLERANCE)


# --- captions ---


def test_words_are_those_of_the_stock_tower_up_to_the_end_token():
    module, texts = encoder().eval(), ["a cat on a mat", "snow", "two dogs, one cat and a bird"]
    found, tokens = module.encode_captions(texts), tokens_of(texts)
    tower = module.tower.clip
    tower.output_tokens = True
    pooled, words = tower(tokens)
    lengths = tokens.argmax(1) + 1
    assert lengths.tolist() == [7, 3, 10] == found.mask.sum(1).tolist()
    assert found.words.shape == (3, 10, 32) and found.mask.shape == (3, 10)
    torch.testing.assert_close(found.words[found.mask], words[:, :10][found.mask], **TOLERANCE)
    torch.testing.assert_close(found.features, pooled, **TOLERANCE)
    torch.testing.assert_close(found.embeds, module.projector(pooled), **TOLERANCE)
    assert all(row[n - 1] and not row[n:].any() for row, n in zip(found.mask, lengths, strict=True))


def test_a_caption_teaches_every_weight():
    module, texts = encoder().train(), ["a cat", "two dogs", ""]
    module.encode_captions(texts).embeds.square().sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in module.parameters())
    used = module.tower.clip.token_embedding.weight.grad.abs().amax(1).nonzero()[:, 0]
    assert set(used.tolist()) == set(tokens_of(texts).flatten().tolist()) - {0}


def test_an_empty_caption_is_a_start_and_an_end_token():
    found = encoder().eval().encode_captions(["", "a cat"])
    assert found.mask.sum(1).tolist() == [2, 4] and found.embeds.isfinite().all()


def test_a_caption_that_is_too_long_ends_where_the_tower_does():
    found = encoder().eval().encode_captions(["cat " * 30])
    assert found.mask.all() and found.mask.shape == (1, CONTEXT)
    ids = open_clip.SimpleTokenizer()(["a cat on a mat " * 30, ""])
    assert ids.shape == (2, 77) and ids.dtype == torch.int64
    assert ids[0, 0] == 49406 and ids[0].argmax() == 76 and ids[0, 76] == 49407
    assert ids[1].tolist() == [49406, 49407] + 75 * [0]


def test_what_is_no_list_of_captions_is_named():
    module = encoder()
    with pytest.raises(TypeError, match="expected a list of texts, got 'a cat'"):
        module.encode_captions("a cat")
    with pytest.raises(ValueError, match="at least one text, got none"):
        module.encode_captions([])


def test_a_tokenizer_of_another_tower_is_named():
    for settings, got in (
        ({"context_length": 9}, "got 12 and 59"),
        ({"vocab_size": 59}, "59, got"),
    ):
        with pytest.raises(ValueError, match=f"tokenizer: expected at most .* {got}"):
            encoder(**settings).encode_captions(["a cat"])


def test_autocast_is_near_and_finite():
    module, texts = encoder().eval(), ["a cat", "two dogs in the snow"]
    exact = module.encode_captions(texts).embeds
    with torch.autocast("cpu", torch.bfloat16):
        half = module.encode_captions(texts).embeds
    assert F.cosine_similarity(half.float(), exact).min() > 0.99


# --- names ---


def said(module, name):
    """Projector outputs of a name under each template, one caption at a time."""
    prompts = [template.replace("{}", name) for template in TEMPLATES]
    return torch.cat([module.encode_captions([prompt]).embeds for prompt in prompts])


def by_hand(module, groups):
    """Unit means over templates, a row per name."""
    names = [name for group in groups for name in group]
    return torch.stack([F.normalize(said(module, name).mean(0), dim=0) for name in names])[:, None]


def test_templates_are_averaged_before_they_are_unit():
    module = encoder().eval()
    found = module(VOCABULARY)
    torch.testing.assert_close(found.embeds, by_hand(module, VOCABULARY.synonyms), **TOLERANCE)
    assert found.embeds.shape == (4, 1, 8)
    assert found.class_index.tolist() == [0, 0, 1, 2] and found.num_classes == 3
    of_units = F.normalize(F.normalize(said(module, "cat"), dim=-1).mean(0), dim=0)
    assert (found.embeds[0, 0] - of_units).abs().max() > 1e-4


@pytest.mark.parametrize(
    "rule, groups",
    [("first", [["cat"], ["dog"]]), ("verbatim", [["cat, kitten"], ["dog"]]), ("mean", None)],
)
def test_synonyms_follow_their_rule(rule, groups):
    vocabulary = Vocabulary.parse("cat, kitten; dog")
    module = encoder(synonyms=rule).eval()
    found = module(vocabulary)
    rows = by_hand(module, groups or vocabulary.synonyms)
    if groups is None:
        rows = torch.stack([F.normalize(rows[:2].mean(0), dim=-1), rows[2]])
    torch.testing.assert_close(found.embeds, rows, **TOLERANCE)
    assert found.class_index.tolist() == [0, 1]


@pytest.mark.parametrize("mode", [True, False])
def test_the_class_without_words_is_not_asked_for(mode):
    vocabulary = Vocabulary.parse("cat, kitten; background; dog")
    module = encoder(projector=nn.Linear(32, 8)).train(mode)
    whole = module(vocabulary)
    found = module(Vocabulary(vocabulary.names, vocabulary.synonyms, rest=1))
    assert found.class_index.tolist() == [0, 0, 1] and found.num_classes == 2
    torch.testing.assert_close(found.embeds, whole.embeds[[0, 1, 3]], **TOLERANCE)


def test_training_gives_names_a_gradient_whatever_the_chunks():
    grads = []
    for size in (512, 1, 3):
        module = encoder(chunk_size=size).train()
        passes = count_passes(module)
        embeds = module(VOCABULARY).embeds
        assert sum(passes) == 8 and max(passes) == min(size, 8)
        probe = torch.linspace(-1, 1, embeds.numel()).view_as(embeds)
        grads.append(torch.autograd.grad((embeds * probe).sum(), list(module.parameters())))
    for other in grads[1:]:
        for grad, expected in zip(other, grads[0], strict=True):
            torch.testing.assert_close(grad, expected, atol=1e-5, rtol=1e-4)
    assert any(grad.abs().max() > 1e-3 for grad in grads[0])


def test_training_embeds_anew_every_time():
    module = encoder().train()
    passes = count_passes(module)
    module(VOCABULARY), module(VOCABULARY)
    assert passes == [8, 8]


# --- the cache ---


def test_evaluation_embeds_once_and_without_gradient():
    module = encoder().eval()
    passes = count_passes(module)
    with torch.inference_mode():
        first = module(VOCABULARY).embeds
    assert module(VOCABULARY).embeds is first and passes == [8]
    assert not first.requires_grad and not first.is_inference()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_after_a_step_nothing_old_is_answered(optimizer):
    module = encoder()
    before = module.eval()(VOCABULARY).embeds
    steps = optimizer(module.parameters(), lr=1e-2)
    module.train().encode_captions(["a cat", "two dogs"]).embeds.square().sum().backward()
    steps.step()
    after = module.eval()(VOCABULARY).embeds
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after, by_hand(module, VOCABULARY.synonyms), **TOLERANCE)


def test_statistics_that_moved_alone_are_noticed():
    module = encoder()
    before = module.eval()(VOCABULARY).embeds
    with torch.no_grad():
        module.train().encode_captions(["a cat", "two dogs"])
    after = module.eval()(VOCABULARY).embeds
    assert (after - before).abs().max() > 1e-4


@pytest.mark.parametrize("dtype, tolerance", [("fp32", 0.0), ("bf16", 0.1)])
def test_evaluation_embeds_in_a_precision_of_its_own(dtype, tolerance):
    exact = encoder().eval()(VOCABULARY).embeds
    with torch.autocast("cpu", torch.bfloat16):  # a surrounding one changes nothing
        found = encoder(dtype=dtype).eval()(VOCABULARY).embeds
    difference = (found - exact).abs().max()
    assert found.dtype == torch.float32 and difference <= tolerance
    assert dtype == "fp32" or difference > 0


# --- sizes ---


def test_the_start_is_clips():
    module = encoder(width=256, heads=4, layers=2, projector=nn.Identity())
    text = module.tower.clip
    attn, mlp = text.transformer.resblocks[1].attn, text.transformer.resblocks[1].mlp
    out = 256**-0.5 * 4**-0.5
    expected = [
        (text.token_embedding.weight, 0.02),
        (text.positional_embedding, 0.01),
        (attn.in_proj_weight, 256**-0.5),
        (attn.out_proj.weight, out),
        (mlp.c_fc.weight, 512**-0.5),
        (mlp.c_proj.weight, out),
    ]
    for weight, deviation in expected:
        assert weight.std().item() == pytest.approx(deviation, rel=0.05)
        assert abs(weight.mean().item()) < 0.1 * deviation
    assert not attn.in_proj_bias.any() and not attn.out_proj.bias.any()


def test_the_published_size_is_the_default():
    with torch.device("meta"):
        module = CaptionTextEncoder(tokens_of, projector=Projector(256, 4096, 256))
    sizes = [sum(x.numel() for x in part.parameters()) for part in (module.tower, module.projector)]
    assert [round(size / 1e6, 2) for size in sizes] == [22.15, 2.11]
    assert module.templates == ("a photo of a {}.",)
    assert type(module.tower.clip.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
