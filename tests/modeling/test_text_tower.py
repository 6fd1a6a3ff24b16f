"""The text tower over a tree of prompts: equal to open_clip's own for any prompts."""

from functools import partial

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import nn
from torch.nn import functional as F

from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.text.encoder import CLIPTextEncoder
from stseg.modeling.text.prefix import PrefixTree, lexicographic_order
from stseg.modeling.text.templates import load_templates
from stseg.modeling.text.tower import TextTower
from tests.helpers.tiny_model import CLIP_NAME

TOKENIZER = open_clip.get_tokenizer(CLIP_NAME)
VISION = {"timm_model_name": "test_convnext", "timm_proj": "linear", "image_size": 64}
REAL = {"context_length": 77, "vocab_size": 49408, "width": 640, "heads": 10, "layers": 12}
SMALL = REAL | {"width": 32, "heads": 4, "layers": 3}
PROMPTS = [
    t.format(name)
    for t in ("a photo of a {}.", "{} in a video game.", "{}", "a {0} on {0}, at night", "the {}!")
    for name in ("cat", "catfish", "traffic light", "Zebra-crossing, 42!", "", "cat")
]
LONG = [f"a photo of the {'very ' * n}old clock." for n in (69, 70, 71, 72, 100)]


def make_clip(text=SMALL, kind=CLIP, **kwargs):
    torch.manual_seed(0)
    clip = kind(32, VISION, text, **kwargs).eval().requires_grad_(False)
    for name, weight in clip.named_parameters():
        if name.endswith("bias") or ".ls_" in name:  # all 0, or all small, as made
            nn.init.normal_(weight, std=0.5)
    return clip


def assert_same(clip, tokens, shares=True):
    tower = TextTower(clip)
    assert tower.shares_prefixes == shares
    ours, theirs = tower(tokens), clip.encode_text(tokens)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    ours, theirs = F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", [list, sorted, partial(sorted, reverse=True)])
def test_prompts_in_any_order_embed_as_without_the_tree(order):
    assert_same(make_clip(), TOKENIZER(order(PROMPTS)))


def test_names_longer_than_the_context_are_cut_as_the_tokenizer_does():
    tokens = TOKENIZER(PROMPTS[:3] + LONG)
    assert (tokens[-3:, -1] > 0).all()
    assert_same(make_clip(), tokens)


@pytest.mark.parametrize("prompts", [["one"], ["", ""], ["same"] * 5, ["!", "a!!?", "!!x!!"]])
def test_a_single_an_empty_and_repeated_prompts(prompts):
    assert_same(make_clip(), TOKENIZER(prompts))


def test_the_tower_of_the_published_size_agrees():
    names = ("traffic light", "grandfather clock")
    prompts = [t.format(n) for n in names for t in load_templates("imagenet_80")[::27]]
    assert_same(make_clip(REAL), TOKENIZER([*prompts, LONG[-1]]))


@pytest.mark.parametrize(
    "changes",
    [{"layers": 1}, {"ls_init_value": 0.1}, {"proj_bias": True}, {"proj_type": "none"}],
)
def test_other_towers_of_its_blocks_agree(changes):
    assert_same(make_clip(SMALL | changes, quick_gelu=True), TOKENIZER(PROMPTS))


@pytest.mark.parametrize("changes", [{}, {"proj_bias": True}, {"proj_type": "none"}])
def test_a_causal_tower_of_its_own_module_shares_beginnings_too(changes):
    assert_same(make_clip(SMALL | changes, CustomTextCLIP), TOKENIZER(PROMPTS))


SIGLIP = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
# As SigLIP's tokenizer has them: padded with 1, no start token, an end that is not the highest id.
OTHER_IDS = torch.tensor(
    [[7, 900, 3, 1, 1], [7, 2, 900, 1, 1], [900, 7, 2, 3, 1], [1] * 5, [7, 900, 5, 1, 1]]
)


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_prompts_that_end_at_no_highest_id_go_whole(kind):
    clip = make_clip(SMALL | SIGLIP | {"context_length": 5}, kind)
    assert_same(clip, OTHER_IDS, shares=False)
    encoder = CLIPTextEncoder(clip, lambda texts: OTHER_IDS[[int(text) for text in texts]])
    found = encoder.encode_prompts([str(i) for i in range(5)])
    torch.testing.assert_close(found, F.normalize(clip.encode_text(OTHER_IDS), dim=-1))


def test_any_ids_have_an_order():
    order = lexicographic_order(OTHER_IDS)
    assert order.sort().values.tolist() == list(range(5))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"embed_cls": True}, CustomTextCLIP),
        ({"no_causal_mask": True}, CLIP),
        ({"pool_type": "last"}, CLIP),
        ({"pool_type": "eos"}, CustomTextCLIP),
        ({"qk_norm": True}, CLIP),
    ],
)
def test_a_tower_of_another_structure_runs_its_own_way(changes, kind):
    assert_same(make_clip(SMALL | changes, kind), TOKENIZER(PROMPTS), shares=False)


def test_a_half_precision_tower_stays_so():
    clip = create_clip(CLIP_NAME).eval().to(torch.bfloat16)
    assert TextTower(clip)(TOKENIZER(PROMPTS)).dtype == torch.bfloat16


def test_sorted_prompts_share_every_beginning():
    tokens = TOKENIZER(PROMPTS)
    ends = tokens.argmax(dim=1).tolist()
    rows = zip(tokens.tolist(), ends, strict=True)
    beginnings = {tuple(row[: i + 1]) for row, end in rows for i in range(end + 1)}
    tree = PrefixTree.grow(tokens[lexicographic_order(tokens)])
    assert len(tree.tokens) == len(beginnings) < sum(ends) / 1.4
    assert tree.ends.unique().numel() == len({tuple(row) for row in tokens.tolist()})


def test_a_prompt_that_goes_on_after_another_ends_shares_no_padding():
    # The first ends at 5; the second has the first's padding as tokens of its own.
    tokens = torch.tensor([[1, 5, 2, 0], [1, 5, 2, 9]])
    tree = PrefixTree.grow(tokens)
    assert tree.tokens.tolist() == [1, 5, 2, 9]
    assert tree.positions.tolist() == [0, 1, 2, 3]
    assert tree.ends.tolist() == [1, 3]
