"""Prototypes of captions: recorded ones of numbers, and those of words restated in loops."""

import math

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses import prototype_loss
from stseg.modeling.text import CaptionFeatures, TextPrototypes

TOLERANCE = {"atol": 1e-5, "rtol": 0}
FORMS = ("intended", "released")
every_form = pytest.mark.parametrize("form", FORMS)
WIDTH, CENTRES = 6, 10


def captions(lengths=(3, 7, 2), seed=0, dtype=torch.float32):
    """Captions of so many words, nonsense behind the last."""
    generator = torch.Generator().manual_seed(seed)
    words = 2 * torch.randn(len(lengths), max(lengths), WIDTH, generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    words = words.masked_fill(~mask[..., None], 1e3)
    features = words[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
    return CaptionFeatures(words.to(dtype), mask, features.to(dtype), features[:, :4])


def prototypes(form="intended", **settings):
    torch.manual_seed(0)
    settings = {"count": 4, "hidden": 12, "form": form} | settings
    return TextPrototypes(width=WIDTH, centre_width=CENTRES, **settings)


def of_features(features):
    """Captions of which only the feature matters."""
    return CaptionFeatures(
        features[:, None], torch.ones(len(features), 1).bool(), features, features
    )


def test_recorded_prototypes_of_numbers(pgseg_fixture):
    arrays = pgseg_fixture("text_prototypes")
    module = prototypes("released", count=8)
    module.buffer.copy_(arrays["buffer"])
    given = of_features(arrays["features"])
    torch.testing.assert_close(module.eval()(given), arrays["protos"], **TOLERANCE)
    assert torch.equal(module.buffer, arrays["buffer"])
    torch.testing.assert_close(module.train()(given), arrays["protos"], **TOLERANCE)
    torch.testing.assert_close(module.buffer, arrays["buffer_after"], **TOLERANCE)


def test_recorded_buffers_of_the_whole_model(pgseg_fixture):
    arrays = pgseg_fixture("tiny_model")
    module = prototypes("released", count=8).train()
    # What was recorded as a weight was so after the step of training, by an evaluation, in which
    # the published buffer moves, too.
    module.buffer.copy_(pgseg_fixture("tiny_model_train")["after:text.prototypes"])
    module(of_features(arrays["text_feature"]))
    torch.testing.assert_close(module.buffer, arrays["param:text.prototypes"], **TOLERANCE)


def restated(words, buffer, rounds):
    """Of one caption (L, C) in float64."""
    words, found = words.double(), buffer.double()
    for _ in range(rounds):
        shares = torch.stack([(found @ word).softmax(0) for word in words])
        sums = [sum(shares[i, s] * words[i] for i in range(len(words))) for s in range(len(found))]
        means = torch.stack([x / (1e-6 + shares[:, s].sum()) for s, x in enumerate(sums)])
        found = torch.stack([x / (1e-6 + x.norm()) for x in means])
    return found


@pytest.mark.parametrize("rounds", [1, 10])
def test_words_up_to_the_end_gather_around_prototypes(rounds):
    lengths = (3, 7, 2)
    module, given = prototypes(rounds=rounds).eval(), captions(lengths)
    found = module(given)
    for own, words, length in zip(found, given.words, lengths, strict=True):
        expected = restated(words[:length], module.buffer[0], rounds)
        torch.testing.assert_close(own.double(), expected, **TOLERANCE)


@every_form
def test_a_caption_does_not_ask_for_the_others(form):
    module, given = prototypes(form).eval(), captions()
    alone = CaptionFeatures(*(x[:1] for x in given))
    torch.testing.assert_close(module(alone), module(given)[:1], **TOLERANCE)


@every_form
def test_prototypes_are_unit_and_carry_no_gradient(form):
    given = captions()
    given = given._replace(words=given.words.requires_grad_(), features=given.features + 0)
    found = prototypes(form)(given)
    assert found.shape == (3, 4, WIDTH if form == "intended" else 1)
    assert not found.requires_grad
    lengths = found.norm(dim=-1 if form == "intended" else 1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), **TOLERANCE)


@every_form
def test_the_buffer_follows_in_training_only(form):
    module, given = prototypes(form), captions()
    before = module.buffer.clone()
    found = module.eval()(given)
    assert torch.equal(module.buffer, before)
    module.train()(given)
    expected = 0.9 * before + 0.1 * found.mean(0, keepdim=True)
    torch.testing.assert_close(module.buffer, expected, **TOLERANCE)
    assert not torch.equal(module.buffer, before)


def loss_of(module):
    centres = torch.randn(3, 4, CENTRES, generator=torch.Generator().manual_seed(1))
    centres.requires_grad_()
    mapped = module.map_centres(centres)
    loss = prototype_loss(mapped, module(captions()), torch.tensor(math.log(10.0)), module.form)
    loss.backward()
    return centres.grad.abs().max()


def test_centres_learn_from_words_but_not_from_numbers():
    module = prototypes()
    assert loss_of(module) > 1e-3
    assert all(x.grad is not None and x.grad.isfinite().all() for x in module.parameters())
    assert loss_of(prototypes("released")) < 1e-5


def test_the_released_map_is_the_mean_over_channels_and_has_no_weights():
    module, centres = prototypes("released"), torch.randn(2, 4, CENTRES)
    torch.testing.assert_close(module.map_centres(centres)[..., 0], centres.mean(-1))
    assert list(module.state_dict()) == ["buffer"]


def test_what_published_files_hold_has_a_place():
    shapes = {key: tuple(x.shape) for key, x in prototypes().state_dict().items()}
    assert shapes["map.hidden.weight"] == (12, CENTRES) and shapes["map.out.weight"] == (WIDTH, 12)
    whole = TextPrototypes(width=256, centre_width=384)
    assert whole.buffer.shape == (1, 8, 256)
    torch.testing.assert_close(whole.buffer.norm(dim=-1), torch.ones(1, 8))
    assert prototypes("released", count=8).buffer.norm() == pytest.approx(1)


@every_form
def test_autocast_changes_nothing(form):
    module = prototypes(form).eval()
    exact = module(captions())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(captions()), exact)
        half = module(captions(dtype=torch.bfloat16))
    assert half.dtype == torch.float32 and half.isfinite().all()
    assert F.cosine_similarity(half.flatten(1), exact.flatten(1)).min() > 0.99


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="FORM: expected one of intended, released, got 'other'"):
        prototypes("other")
