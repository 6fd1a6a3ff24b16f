"""CEL: proposals named by texts alone, what teaches them, and the baseline with a background."""

from pathlib import Path

import numpy as np
import pytest
import torch

import stseg
from stseg.config import setup_cfg
from stseg.modeling import build_model
from stseg.modeling.meta_arch import CEL, Batch
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.tiny_model import CLIP_NAME, tiny_cel_cfg

WORDS = Vocabulary.parse("sky; tree, bush; cat; road")
SHIPPED = Path(stseg.__file__).parents[1] / "configs"
CONFIGS = [path for k in ("cel/*", "mini/*_cel") for path in sorted(SHIPPED.glob(f"{k}.yaml"))]
WITH_BACKGROUND = {"MODEL__CEL__BACKGROUND__ENABLED": True}
ALONE = {"MODEL__CEL__POOLED__SEEN": 0.0, "MODEL__CEL__POOLED__OTHERS": 0.0}


def build(**changes):
    torch.manual_seed(0)
    return CEL(tiny_cel_cfg(**{"MODEL__TEXT__TEMPLATES": ["single", "{}"], **changes}))


def item(vocabulary=WORDS, labels=None, size=(64, 96)):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "vocabulary": vocabulary} | (
        {} if labels is None else {"sem_seg": labels}
    )


def halves(left=0, right=IGNORE_LABEL, size=(64, 96)):
    labels = torch.full(size, left)
    labels[:, size[1] // 2 :] = right
    return labels


def encoded(model):
    with torch.no_grad():
        return model.eval().encode([item()["image"].float()]).tensors


# --- the answer ---


def test_shares_are_a_softmax_of_cosines_times_what_speaks_for_the_proposal():
    model = build(**ALONE)
    tensors, embeddings = encoded(model), model.embed(WORDS)
    with torch.no_grad():
        masks, shares = model.logits(tensors, embeddings)
    embeds = tensors["class_embeds"][0].double().numpy()
    names = embeddings.embeds.double().mean(1).numpy()
    probs = 1 / (1 + np.exp(-tensors["mask_logits"][0].double().numpy()))
    assert torch.equal(masks, tensors["mask_logits"])
    for query, embed in enumerate(embeds):
        cosines = names @ embed / np.linalg.norm(names, axis=1) / np.linalg.norm(embed)
        cosines = np.array([cosines[0], max(cosines[1:3]), cosines[3], cosines[4]])
        wanted = np.exp(cosines / 0.01 - max(cosines) / 0.01)
        wanted /= wanted.sum()
        wanted *= 1 / (1 + np.exp(-(max(cosines) - 0.2) / 0.05))
        inside = probs[query][probs[query] > 0.5]
        wanted *= inside.mean() if inside.size else 0
        np.testing.assert_allclose(shares[0, query].numpy(), wanted, rtol=1e-3, atol=1e-6)


def test_there_is_a_column_for_each_class_and_no_other():
    plain, baseline = build(), build(**WITH_BACKGROUND)
    embeds = torch.randn(1, 6, plain.text_encoder(WORDS).embeds.shape[-1])
    assert plain.scoring.cosines(embeds, plain.embed(WORDS)).shape[-1] == 4
    assert baseline.scoring.cosines(embeds, plain.embed(WORDS)).shape[-1] == 5
    assert plain.criterion.no_object_weight is None
    assert baseline.criterion.no_object_weight == 0.1
    learnt = baseline.state_dict().keys() - plain.state_dict().keys()
    assert learnt == {"scoring.background.rest"}


def test_with_a_background_its_column_is_dropped_and_nothing_else_speaks_for_a_proposal():
    model = build(**ALONE, **WITH_BACKGROUND)
    tensors, embeddings = encoded(model), model.embed(WORDS)
    with torch.no_grad():
        cosines = model.scoring.cosines(tensors["class_embeds"], embeddings)
        shares = model.logits(tensors, embeddings)[1]
    torch.testing.assert_close(shares, (cosines / 0.01).softmax(-1)[..., :-1])


@pytest.mark.parametrize("changes", [{}, WITH_BACKGROUND], ids=["plain", "background"])
def test_an_offset_comes_off_seen_classes_alone_and_in_evaluation_alone(changes):
    changes = {**ALONE, **changes}
    plain, off = build(**changes), build(MODEL__CEL__SEEN_OFFSET=0.05, **changes)
    tensors, embeddings = encoded(plain), plain.embed(WORDS)
    seen = torch.tensor([True, True, False, False])
    with torch.no_grad():
        before, after = (m.logits(tensors, embeddings, seen)[1] for m in (plain, off))
        unmarked = off.logits(tensors, embeddings, None)[1]
        cosines = plain.scoring.cosines(tensors["class_embeds"], embeddings)
        moved = cosines - 0.05 * torch.tensor([1, 1, 0, 0, 0][: cosines.shape[-1]])
        wanted = plain.scoring.shares(moved, tensors["mask_logits"], None)
    torch.testing.assert_close(after, wanted)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(unmarked, plain.logits(tensors, embeddings)[1])
    batch = [item(labels=halves())]
    torch.manual_seed(0)
    one = plain.train()(batch)
    torch.manual_seed(0)
    assert one == off.train()(batch)


@pytest.mark.parametrize("changes", [{}, WITH_BACKGROUND], ids=["plain", "background"])
def test_frozen_clip_has_a_say_that_depends_on_whether_labels_taught_the_class(changes):
    own, both = build(**ALONE, **changes), build(**changes)
    tensors, embeddings = encoded(both), both.embed(WORDS)
    seen = torch.tensor([True, False, True, False])
    with torch.no_grad():
        alone = own.logits(tensors | {}, embeddings, seen)[1]
        mixed = both.logits(tensors, embeddings, seen)[1]
        dense = both.image_encoder(item()["image"][None].float())["dense"][0]
    dense = (dense / dense.norm(dim=0)).double()
    inside = torch.nn.functional.interpolate(
        tensors["mask_logits"], dense.shape[-2:], mode="bilinear"
    )[0]
    names = torch.nn.functional.normalize(embeddings.embeds.double().mean(1), dim=-1)
    for query, mask in enumerate(inside > 0):
        mean = dense[:, mask].mean(1) if mask.any() else torch.zeros(len(dense)).double()
        cosines = names @ mean
        cosines = torch.stack([cosines[0], cosines[1:3].max(), cosines[3], cosines[4]])
        clip = (cosines / 0.01).softmax(0).numpy()
        weight = np.array([0.4, 0.8, 0.4, 0.8])
        shares = alone[0, query].double().numpy()
        wanted = (shares / shares.sum()) ** (1 - weight) * clip**weight
        wanted *= shares.sum() / wanted.sum()
        np.testing.assert_allclose(mixed[0, query].numpy(), wanted, rtol=2e-3, atol=1e-6)
    assert not torch.allclose(alone, mixed)


def test_frozen_clip_is_not_asked_where_it_has_no_say_nor_in_training():
    image = [item()["image"].float()]
    assert "pooled_embeds" not in encoded(build(**ALONE))
    assert "pooled_embeds" in encoded(build())
    assert "pooled_embeds" not in build().train().encode(image).tensors


def test_other_order_of_classes_is_another_order_of_shares():
    model, order = build(), [2, 0, 3, 1]
    other = Vocabulary.parse("cat; sky; road; tree, bush")
    tensors = encoded(model)
    with torch.no_grad():
        straight = model.logits(tensors, model.embed(WORDS))[1]
        turned = model.logits(tensors, model.embed(other))[1]
    torch.testing.assert_close(turned, straight[..., order])


def test_the_tower_stays_frozen():
    with pytest.raises(ValueError, match=r"MODEL.CLIP.FINETUNE: expected 'none' for CEL"):
        build(MODEL__CLIP__FINETUNE="full")
    assert not any(p.requires_grad for p in build().image_encoder.parameters())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_builds_and_runs(path):
    changes = ["MODEL.CLIP.NAME", CLIP_NAME, "MODEL.CLIP.PRETRAINED", "random"]
    cfg = setup_cfg(str(path), [*changes, "MODEL.TEXT.CACHE_DIR", ""], device="cpu")
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        (out,) = model([item()])
    assert isinstance(model, CEL) and out["sem_seg"].shape == (4, 64, 96)
    assert out["sem_seg"].std(dim=(1, 2)).max() > 0
    losses = model.train()([item(WORDS.with_seen("sky; cat"), halves())])
    more = set() if "background" in path.stem else {"loss_presence", "loss_absent"}
    assert len(losses) == 3 * (cfg.MODEL.CEL.NUM_LAYERS + 1) + len(more) and more <= losses.keys()
    assert all(loss.isfinite() for loss in losses.values())


# --- what it learns from ---


def gradients_of_unmatched(model, labels):
    """Norm of what the losses ask of each query's last embedding, and which queries are matched."""
    model.train()
    features = model.encode([item()["image"].float()])
    embeds = features.tensors["class_embeds"].detach().requires_grad_()
    features.tensors["class_embeds"] = embeds
    matched = []
    inner = model.criterion.forward

    def forward(*args, **kwargs):
        losses, matches = inner(*args, **kwargs)
        matched.append(matches[0].queries)
        return losses, matches

    model.criterion.forward = forward
    batch = Batch.of([item(labels=labels)], model.device)
    losses = model.losses(features, batch)
    sum(losses.values()).backward()
    return embeds.grad[0].norm(dim=-1), matched[0]


def test_void_makes_no_background_of_a_proposal_but_in_the_baseline():
    nothing = torch.full((64, 96), IGNORE_LABEL)
    plain, matched = gradients_of_unmatched(build(MODEL__CEL__ABSENT="none"), nothing)
    assert len(matched) == 0 and not plain.any()
    baseline, _ = gradients_of_unmatched(build(**WITH_BACKGROUND), nothing)
    assert (baseline > 0).all()


def test_proposals_on_void_are_not_pushed_off_absent_classes():
    only = {"MODEL__CEL__LOSSES__PRESENCE_WEIGHT": 0.0}
    void, matched = gradients_of_unmatched(build(**only), torch.full((64, 96), IGNORE_LABEL))
    assert len(matched) == 0 and not void.any()
    labelled, matched = gradients_of_unmatched(build(**only), torch.zeros(64, 96).long())
    assert len(matched) == 1
    assert (labelled > 0).sum() > 1


@pytest.mark.parametrize(
    ("absent", "wanted"),
    [
        ("all", [False, True, True, True]),
        ("seen", [False, True, False, False]),
        ("none", [False, False, False, False]),
    ],
)
def test_which_classes_are_absent_is_a_key(absent, wanted):
    model, found = build(MODEL__CEL__ABSENT=absent).train(), []
    loss = model.enhancements["loss_presence"][1]
    model.enhancements["loss_presence"] = (1.0, lambda x: found.append(x) or loss(x))
    model([item(WORDS.with_seen("sky; tree"), halves())])
    assert found[0].absent.tolist() == [wanted]
    assert found[0].present.tolist() == [[True, False, False, False]]


def test_marks_are_asked_for_where_they_decide():
    model = build(MODEL__CEL__ABSENT="seen").train()
    with pytest.raises(ValueError, match=r"vocabulary.seen.*MODEL.CEL.ABSENT.*with_seen"):
        model([item(labels=halves())])


@pytest.mark.parametrize("changes", [{}, WITH_BACKGROUND], ids=["plain", "background"])
@pytest.mark.parametrize("labels", [IGNORE_LABEL, 0])
def test_every_parameter_that_asks_for_a_gradient_gets_one(changes, labels):
    model = build(**changes).train()
    sum(model([item(labels=torch.full((64, 96), labels))]).values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_losses_are_those_of_every_round_and_enhancements_of_the_last():
    losses = build(MODEL__CEL__LOSSES__RANK_LIST_WEIGHT=1.0).train()([item(labels=halves())])
    rounds = {f"loss_{k}{s}" for k in ("ce", "mask", "dice") for s in ("", "_0", "_1", "_2")}
    assert losses.keys() == rounds | {"loss_presence", "loss_absent", "loss_rank_list"}
    assert build(**WITH_BACKGROUND).train()([item(labels=halves())]).keys() == rounds
