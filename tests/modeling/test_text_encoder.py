"""The text side: exact trimming, order, synonyms, caches that never go stale."""

from functools import partial

import open_clip
import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.encoder import CLIPTextEncoder
from stseg.modeling.text.templates import load_templates
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import CLIP_NAME

VOCABULARY = Vocabulary.parse("cat, kitten; dog; traffic light")
TEMPLATES = ("a {}.", "one {}.")
TextEncoder = partial(CLIPTextEncoder, templates=TEMPLATES)


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return create_clip(CLIP_NAME).eval()


@pytest.fixture
def encoder(clip):
    return TextEncoder(clip, open_clip.get_tokenizer(CLIP_NAME))


def count_passes(encoder):
    """A list that grows by one entry per forward pass of the tower."""
    passes = []
    encoder.tower.register_forward_hook(lambda module, args, out: passes.append(len(out)))
    return passes


def test_trimmed_prompts_embed_exactly_as_full_ones(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    prompts = ["a cat.", "a photo of the large traffic light in the snow, at night."]
    full = F.normalize(clip.encode_text(tokenizer(prompts)), dim=-1)
    assert tokenizer(prompts).shape[1] == 77
    trimmed = TextEncoder(clip, tokenizer).encode_prompts(prompts)
    torch.testing.assert_close(trimmed, full, atol=1e-6, rtol=0)


def test_rows_follow_names_and_templates(encoder):
    embeddings = encoder(VOCABULARY)
    assert embeddings.embeds.shape == (4, 2, 32)
    assert embeddings.class_index.tolist() == [0, 0, 1, 2]
    assert embeddings.num_classes == 3
    alone = encoder.encode_prompts(["one kitten."])
    torch.testing.assert_close(embeddings.embeds[1, 1], alone[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(embeddings.embeds.norm(dim=-1), torch.ones(4, 2))


def test_class_order_permutes_the_rows(encoder):
    backwards = Vocabulary.parse("traffic light; dog; cat, kitten")
    ours, theirs = encoder(VOCABULARY).embeds, encoder(backwards).embeds
    torch.testing.assert_close(ours, theirs[[2, 3, 1, 0]], atol=1e-6, rtol=0)


def test_chunks_change_nothing(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    whole = TextEncoder(clip, tokenizer)(VOCABULARY).embeds
    for size in (1, 3):
        chunked = TextEncoder(clip, tokenizer, chunk_size=size)(VOCABULARY).embeds
        torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=0)


def test_mean_synonyms_give_one_unit_row_per_class(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    rows = TextEncoder(clip, tokenizer)(VOCABULARY).embeds
    mean = TextEncoder(clip, tokenizer, synonyms="mean")(VOCABULARY)
    assert mean.class_index.tolist() == [0, 1, 2]
    torch.testing.assert_close(mean.embeds[0], F.normalize(rows[:2].mean(0), dim=-1))
    torch.testing.assert_close(mean.embeds[1:], rows[2:])


def test_first_and_verbatim_ask_for_one_text_per_class(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    for rule, text in {"first": "a cat.", "verbatim": "a cat, kitten."}.items():
        encoder = TextEncoder(clip, tokenizer, synonyms=rule)
        found = encoder(VOCABULARY)
        assert found.class_index.tolist() == [0, 1, 2]
        torch.testing.assert_close(
            found.embeds[0, 0], encoder.encode_prompts([text])[0], atol=1e-6, rtol=0
        )


def test_a_class_scores_as_its_best_name():
    embeddings = ClassEmbeddings(torch.zeros(4, 1, 2), torch.tensor([0, 0, 1, 2]), 3)
    scores = torch.tensor([0.1, 0.7, -2.0, 0.3])[None, :, None, None].expand(2, 4, 3, 5)
    classes = embeddings.class_scores(scores)
    assert classes.shape == (2, 3, 3, 5)
    assert classes[1, :, 2, 4].tolist() == pytest.approx([0.7, -2.0, 0.3])


def test_only_the_best_name_gets_the_gradient():
    embeddings = ClassEmbeddings(torch.zeros(3, 1, 2), torch.tensor([0, 0, 1]), 2)
    scores = torch.tensor([0.1, 0.7, 0.3])[None, :, None, None].requires_grad_()
    embeddings.class_scores(scores).sum().backward()
    assert scores.grad.flatten().tolist() == [0.0, 1.0, 1.0]


def test_a_second_call_is_answered_from_memory(encoder):
    passes = count_passes(encoder)
    first, second = encoder(VOCABULARY), encoder(VOCABULARY)
    assert passes == [8]
    torch.testing.assert_close(first.embeds, second.embeds)


def test_of_an_edited_vocabulary_only_the_new_names_are_encoded(encoder):
    passes = count_passes(encoder)
    encoder(VOCABULARY)
    edited = Vocabulary.parse("horse; dog; cat, kitten")
    embeds = encoder(edited).embeds
    assert passes == [8, 2]
    torch.testing.assert_close(embeds[[2, 3]], encoder(VOCABULARY).embeds[:2])


def test_a_name_of_two_classes_is_encoded_once(encoder):
    passes = count_passes(encoder)
    shared = Vocabulary.parse(["bag, sack", "purse, bag"])
    embeds = encoder(shared).embeds
    assert passes == [6]
    torch.testing.assert_close(embeds[0], embeds[3])
    encoder(shared)
    assert passes == [6]


def test_what_inference_mode_cached_can_be_trained_with(encoder):
    with torch.inference_mode():
        encoder(VOCABULARY)
    weight = torch.ones(32, requires_grad=True)
    (encoder(VOCABULARY).embeds @ weight).sum().backward()
    assert weight.grad is not None


def test_memory_is_bounded_and_answers_stay_right(clip):
    small = TextEncoder(clip, open_clip.get_tokenizer(CLIP_NAME), cache_names=2)
    first, again = small(VOCABULARY).embeds, small(VOCABULARY).embeds
    torch.testing.assert_close(first, again, atol=1e-6, rtol=0)
    other = Vocabulary.parse("horse")
    small(other)
    assert [len(rows) for rows in small._cache.memory.values()] == [1]
    torch.testing.assert_close(small(VOCABULARY).embeds, first, atol=1e-6, rtol=0)


def test_a_second_process_is_answered_from_disk(clip, tmp_path):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    first = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))(VOCABULARY)
    again = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))
    passes = count_passes(again)
    torch.testing.assert_close(again(VOCABULARY).embeds, first.embeds)
    assert passes == []


def test_a_damaged_cache_file_is_made_anew(clip, tmp_path, caplog):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    first = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))(VOCABULARY)
    path = sorted(tmp_path.rglob("*.tensor"))[0]
    path.write_bytes(path.read_bytes()[:100])
    again = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))
    passes = count_passes(again)
    torch.testing.assert_close(again(VOCABULARY).embeds, first.embeds)
    assert path.name in caplog.text
    assert passes == [2]
    again = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))
    passes = count_passes(again)
    again(VOCABULARY)
    assert passes == []


def test_of_a_vocabulary_on_disk_with_one_more_name_only_that_is_encoded(clip, tmp_path):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    first = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))(VOCABULARY)
    again = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path))
    passes = count_passes(again)
    more = Vocabulary.parse("horse; cat, kitten; dog; traffic light")
    torch.testing.assert_close(again(more).embeds[1:], first.embeds)
    assert passes == [2]


def test_means_are_kept_by_class(clip, tmp_path):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    make = partial(TextEncoder, clip, tokenizer, cache_dir=str(tmp_path))
    rows, mean = make()(VOCABULARY), make(synonyms="mean")(VOCABULARY)
    torch.testing.assert_close(mean.embeds, rows.mean_over_synonyms().embeds)
    again = make(synonyms="mean")
    passes = count_passes(again)
    torch.testing.assert_close(again(VOCABULARY).embeds, mean.embeds)
    assert passes == []


def test_a_cache_that_cannot_be_written_costs_nothing_else(clip, tmp_path):
    (tmp_path / "file").write_text("in the way")
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    encoder = TextEncoder(clip, tokenizer, cache_dir=str(tmp_path / "file" / "cache"))
    assert encoder(VOCABULARY).embeds.shape == (4, 2, 32)


@pytest.mark.parametrize("change", ["weights", "names", "templates", "tokenizer", "precision"])
def test_whatever_the_embeddings_depend_on_is_in_the_key(encoder, change):
    passes = count_passes(encoder)
    before = encoder(VOCABULARY).embeds
    vocabulary = VOCABULARY
    if change == "weights":
        with torch.no_grad():
            encoder.tower.clip.text_projection[:4] *= 2
    elif change == "names":
        vocabulary = Vocabulary.parse("cat, kitten; dog; horse")
    elif change == "templates":
        encoder.templates = ("a {}.", "two {}.")
    elif change == "precision":
        encoder.dtype = "bf16"
    else:
        tokenizer = encoder.tokenizer
        encoder.tokenizer = lambda texts: tokenizer([text.upper() + "!" for text in texts])
    after = encoder(vocabulary).embeds
    assert len(passes) == 2
    assert (after - before).abs().max() > 1e-4


def test_half_precision_is_near_and_still_gives_float32(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    exact = TextEncoder(clip, tokenizer)(VOCABULARY).embeds
    with torch.autocast("cpu", torch.bfloat16):  # a surrounding one changes nothing
        assert torch.equal(TextEncoder(clip, tokenizer)(VOCABULARY).embeds, exact)
    half = TextEncoder(clip, tokenizer, dtype="bf16")(VOCABULARY).embeds
    assert half.dtype == torch.float32
    assert 1e-4 < (half - exact).norm(dim=-1).max() < 0.03


def test_the_text_tower_never_learns(encoder):
    encoder.train()
    assert not encoder.tower.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert "visual" not in " ".join(encoder.state_dict())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"synonyms": "min"}, "SYNONYMS"),
        ({"chunk_size": 0}, "CHUNK_SIZE"),
        ({"dtype": "int8"}, "DTYPE"),
        ({"templates": []}, "TEMPLATES: expected at least one"),
        ({"templates": ["a photo"]}, "TEMPLATES: expected imagenet_80, single, .* or .*'a photo'"),
        ({"templates": ["{} and {}"]}, "TEMPLATES: .*exactly one '{}', got '{} and {}'"),
    ],
)
def test_bad_settings_are_named(clip, arguments, named):
    with pytest.raises(ValueError, match=f"MODEL.TEXT.{named}"):
        TextEncoder(clip, open_clip.get_tokenizer(CLIP_NAME), **arguments)


def test_shipped_templates_come_by_name_and_beside_ones_own():
    assert len(set(load_templates("imagenet_80"))) == 80
    assert load_templates("single", "{0} {}!") == ("a photo of a {}.", "{0} {}!")


def test_a_template_is_text_but_for_the_place_of_the_name(clip):
    tokenizer = open_clip.get_tokenizer(CLIP_NAME)
    encoder = CLIPTextEncoder(clip, tokenizer, templates=["{0} {}!"])
    (embeds,) = encoder(Vocabulary.parse("a{b}")).embeds
    torch.testing.assert_close(embeds, encoder.encode_prompts(["{0} a{b}!"]), atol=1e-6, rtol=0)
