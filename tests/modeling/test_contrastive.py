"""Pictures and captions find each other: against recorded arrays, and restated in loops."""

import math

import pytest
import torch
from detectron2.utils import comm

from stseg.modeling.losses import capped_scale, contrastive, contrastive_loss
from tests.helpers.ranks import Ranks

TOLERANCE = {"atol": 1e-5, "rtol": 0}
START = torch.tensor(math.log(1 / 0.07), dtype=torch.float64)


def pairs(count=5, channels=7, seed=0, extra=3):
    """Pictures, captions and extra texts in float64, of any length."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((count, channels), (count, channels), (count, extra, channels))
    return [torch.randn(*x, generator=generator, dtype=torch.float64) for x in shapes]


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def restated(images, texts, extra, log_scale):
    """Both losses in loops, mean over pictures."""
    scale, count = min(math.exp(log_scale), 100), len(images)

    def log_share(of, own, others):
        exps = [math.exp(scale * cosine(of, x)) for x in others]
        return math.log(math.exp(scale * cosine(of, own)) / sum(exps))

    main = sum(log_share(images[i], texts[i], texts) + log_share(texts[i], images[i], images)
               for i in range(count))  # fmt: skip
    every = [x for row in extra for x in row]
    more = sum((log_share(images[i], x, every) + log_share(x, images[i], images)) / len(extra[i])
               for i in range(count) for x in extra[i])  # fmt: skip
    return -main / (2 * count), -more / (2 * count)


def test_recorded_loss_and_gradients(pgseg_fixture):
    arrays = pgseg_fixture("contrastive")
    names = ("image", "text", "log_scale")
    given = [arrays[name].requires_grad_() for name in names]
    loss = contrastive_loss(*given)
    torch.testing.assert_close(loss, arrays["loss"], **TOLERANCE)
    for name, grad in zip(names, torch.autograd.grad(loss, given), strict=True):
        torch.testing.assert_close(grad, arrays[f"grad_{name}"], **TOLERANCE)


def test_recorded_losses_of_two_workers(pgseg_fixture, monkeypatch):
    arrays = pgseg_fixture("contrastive")
    image, text = (arrays[name].chunk(2) for name in ("image", "text"))
    monkeypatch.setattr(contrastive, "differentiable_all_gather", lambda x: comm.all_gather(x))
    found = Ranks(2).run(
        monkeypatch, lambda rank: contrastive_loss(image[rank], text[rank], arrays["log_scale"])
    )
    for rank, loss in enumerate(found):
        torch.testing.assert_close(loss, arrays[f"loss_worker{rank}_of_2"], **TOLERANCE)


def test_recorded_loss_of_extra_texts(pgseg_fixture):
    arrays = pgseg_fixture("contrastive")
    given = [arrays[name] for name in ("image", "text", "log_scale")]
    extra = {key: arrays[key] for key in ("extra_text", "extra_log_scale")}
    more = contrastive_loss(*given, **extra) - contrastive_loss(*given)
    torch.testing.assert_close(more, arrays["extra_loss"], **TOLERANCE)


@pytest.mark.parametrize("log_scale", [0.0, 2.5, 5.0])
def test_the_loss_is_what_it_says(log_scale):
    image, text, extra = pairs()
    scale = torch.tensor(log_scale)
    main, more = restated(image, text, extra, log_scale)
    assert contrastive_loss(image, text, scale).item() == pytest.approx(main, rel=1e-6)
    both = contrastive_loss(image, text, scale, extra_text=extra, extra_log_scale=scale)
    assert both.item() == pytest.approx(main + more, rel=1e-6)


def test_extra_texts_have_a_scale_of_their_own():
    image, text, extra = pairs()
    scales = [START.clone().requires_grad_(), torch.tensor(0.5).double().requires_grad_()]
    loss = contrastive_loss(image, text, scales[0], extra_text=extra, extra_log_scale=scales[1])
    alone = contrastive_loss(image, text, scales[0])
    assert torch.equal(*(torch.autograd.grad(x, scales[0], retain_graph=True)[0]
                         for x in (loss, alone)))  # fmt: skip
    assert torch.autograd.grad(loss, scales[1])[0] != 0


def test_neither_order_nor_length_matters():
    image, text, _ = pairs()
    order = torch.randperm(5)
    other = contrastive_loss(3 * image[order], 0.1 * text[order], START)
    torch.testing.assert_close(other, contrastive_loss(image, text, START))


def test_the_scale_stops_at_100_and_stays_finite():
    steps = torch.tensor([0.0, 4.6, 4.7, 1000.0], requires_grad=True)
    scales = capped_scale(steps)
    torch.testing.assert_close(scales, torch.tensor([1.0, math.exp(4.6), 100.0, 100.0]))
    scales.sum().backward()
    torch.testing.assert_close(steps.grad, torch.tensor([1.0, math.exp(4.6), 0.0, 0.0]))


def test_a_pair_alone_has_nothing_to_learn():
    image, text, _ = (x.requires_grad_() for x in pairs(count=1))
    loss = contrastive_loss(image, text, START)
    loss.backward()
    assert loss == 0 and image.grad.abs().max() < 1e-12 and text.grad.isfinite().all()


def test_half_precision_is_compared_in_float32():
    image, text, _ = (x.bfloat16() for x in pairs())
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive_loss(image, text.float(), START.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, contrastive_loss(image.float(), text.float(), START.float()))


def test_a_vector_of_zeros_does_no_harm():
    image, text, _ = pairs()
    image[0] = 0
    image.requires_grad_()
    contrastive_loss(image, text, START).backward()
    assert image.grad.isfinite().all()


def test_shapes_that_do_not_go_together_are_named():
    image, text, extra = pairs()
    with pytest.raises(ValueError, match=r"of one shape \(B, C\), got \(5, 7\) and \(4, 7\)"):
        contrastive_loss(image, text[:4], START)
    with pytest.raises(ValueError, match="or neither, got one of them"):
        contrastive_loss(image, text, START, extra_text=extra)
    with pytest.raises(ValueError, match=r"extra_text: expected \(B, M, C\).*got \(4, 3, 7\)"):
        contrastive_loss(image, text, START, extra_text=extra[:4], extra_log_scale=START)
