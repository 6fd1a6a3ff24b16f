"""CLIP's own answer beside the decoder's: what is mixed, for which classes, and where."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stseg.checkpoint import Checkpointer, WeightFacts, load_for_evaluation, spare_encoder_files
from stseg.config import setup_cfg
from stseg.modeling.heads import CostVolume, GeometricEnsemble
from stseg.modeling.meta_arch import STSeg, export_graphs
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_cfg

WORDS = Vocabulary.parse("sky; tree, bush; cat, kitten; road")
SEEN = torch.tensor([True, True, False, False])


def build(alpha=0.0, beta=0.8, dea=False, **changes):
    torch.manual_seed(0)
    changes = {
        "MODEL__TEXT__TEMPLATES": ["single", "{}"],
        "MODEL__STSEG__DEA__ENABLED": dea,
        "MODEL__STSEG__ENSEMBLE__ALPHA": alpha,
        "MODEL__STSEG__ENSEMBLE__BETA": beta,
        **changes,
    }
    return STSeg(tiny_cfg(**changes)).eval()


def item(vocabulary=WORDS, **more):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
    return {"image": image, "vocabulary": vocabulary, **more}


def answer(model, vocabulary=WORDS):
    with torch.no_grad():
        return model([item(vocabulary)])[0]["sem_seg"]


# --- the mean ---


def test_it_is_the_weighted_geometric_mean_of_two_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=generator) * 4
    similar = torch.randn(2, 4, 3, 5, generator=generator) * 3
    mixed = GeometricEnsemble(0.25, 0.8)(logits, similar, SEEN)
    decoder = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    clip = np.exp(similar.numpy().astype(np.float64))
    clip /= clip.sum(1, keepdims=True)
    weight = np.array([0.25, 0.25, 0.8, 0.8])[None, :, None, None]
    wanted = decoder ** (1 - weight) * clip**weight
    np.testing.assert_allclose(mixed.double().sigmoid().numpy(), wanted, rtol=2e-5)


def test_a_softmax_is_mixed_in_logarithms_and_classes_share_what_comes_out():
    changes = {"MODEL__LOSS__KIND": "softmax"}
    plain, mixed = build(beta=0.0, **changes), build(alpha=0.25, **changes)
    with torch.no_grad():
        tensors = mixed.encode([item()["image"].float()]).tensors
        embeddings = mixed.embed(WORDS)
        decoder = plain.logits(tensors, embeddings, SEEN)[0].softmax(1)
        cosines = CostVolume(tensors["clip"], embeddings.embeds).mean()
        clip = embeddings.class_scores(mixed.text_encoder.logit_scale * cosines).log_softmax(1)
        clip = F.interpolate(clip, decoder.shape[-2:], mode="bilinear").exp()
        found = mixed.answer(tensors, embeddings, SEEN).softmax(1)
    weight = torch.where(SEEN, 0.25, 0.8)[:, None, None]
    wanted = decoder ** (1 - weight) * clip**weight
    torch.testing.assert_close(found, wanted / wanted.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_a_weight_of_zero_leaves_the_decoder_its_last_bit():
    logits, similar = torch.randn(1, 4, 6, 6) * 9, torch.randn(1, 4, 3, 3)
    mixed = GeometricEnsemble(0.0, 0.8)(logits, similar, SEEN)
    assert torch.equal(mixed[:, SEEN], logits[:, SEEN])
    assert (mixed[:, ~SEEN] != logits[:, ~SEEN]).all()


def test_clip_is_looked_at_between_its_cells():
    similar = torch.randn(1, 4, 3, 3)
    mixed = GeometricEnsemble(0.0, 0.5)(torch.full((1, 4, 6, 6), 40.0), similar, ~SEEN)
    fine = F.interpolate(similar.log_softmax(1), (6, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(F.logsigmoid(mixed[:, :2]), 0.5 * fine[:, :2])


def test_none_takes_all_for_unseen():
    logits, similar = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)
    ensemble = GeometricEnsemble(0.3, 0.8)
    nothing = torch.zeros(4, dtype=torch.bool)
    assert torch.equal(ensemble(logits, similar, None), ensemble(logits, similar, nothing))


def test_certain_impossible_and_only_classes_stay_numbers():
    logits = torch.tensor([200.0, -200.0, -torch.inf])[None, :, None, None]
    mixed = GeometricEnsemble(0.4, 0.8)(logits, torch.zeros_like(logits), None)[0, :, 0, 0]
    assert mixed[:2].isfinite().all()
    assert mixed[2] == -torch.inf  # as early rejection has it
    alone = GeometricEnsemble(0.4, 0.8)(logits[:, :1], torch.ones(1, 1, 1, 1), None)
    assert 15 < alone.item() < 17


def test_halves_come_out_whole():
    logits = torch.randn(1, 4, 3, 3, dtype=torch.bfloat16)
    assert GeometricEnsemble(0.0, 0.8)(logits, logits, SEEN).dtype == torch.float32


# --- in STSeg ---


def test_only_classes_without_masks_change():
    marked = WORDS.with_seen("sky; tree")
    plain, mixed = answer(build(beta=0.0), marked), answer(build(), marked)
    same = (plain == mixed).flatten(1).all(1)
    assert same.tolist() == SEEN.tolist()


def test_which_they_are_the_weights_say_where_the_words_do_not():
    model = build()
    model.facts = WeightFacts(trained_on=(("sky",), ("tree", "bush")))
    assert torch.equal(answer(model), answer(build(), WORDS.with_seen("sky; tree")))


def test_weights_that_say_nothing_are_taken_for_published_ones():
    marks = build().seen_marks(Vocabulary.parse("giraffe; zeppelin"))
    assert marks.tolist() == [True, False]
    assert build(beta=0.0).seen_marks(WORDS) is None


def test_the_best_name_of_a_class_speaks_for_clip_at_its_own_scale():
    model, marked = build(), WORDS.with_seen("sky; tree")
    with torch.no_grad():
        tensors = model.encode([item()["image"].float()]).tensors
        embeddings = model.embed(WORDS)
        cosines = CostVolume(tensors["dense"], embeddings.embeds).mean()
        names = model.text_encoder.logit_scale * cosines
        best = [names[:, embeddings.class_index == c].amax(1) for c in range(4)]
        plain = build(beta=0.0).logits(tensors, embeddings)[0]
        wanted = GeometricEnsemble(0.0, 0.8)(plain, torch.stack(best, 1), SEEN)
        found = model.logits(tensors, embeddings, model.seen_marks(marked))[0]
        lean = model.answer(tensors, embeddings, model.seen_marks(marked))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(lean, wanted, atol=1e-5, rtol=1e-5)


def test_training_does_not_know_of_it():
    labels = torch.randint(0, 4, (64, 64), generator=torch.Generator().manual_seed(2))
    losses = [build(beta=beta).train()([item(sem_seg=labels)]) for beta in (0.0, 0.8)]
    assert losses[0] == losses[1]


def test_clip_answers_as_it_was_before_the_tower_learnt():
    model, image = build(), item()["image"].float()
    with torch.no_grad():
        before = model.encode([image]).tensors
        for parameter in model.image_encoder.parameters():
            parameter.mul_(1.1)
        after = model.encode([image]).tensors
    assert torch.equal(before["clip"], after["clip"])
    assert not torch.equal(before["dense"], after["dense"])
    assert not any(p.requires_grad for p in model.clip_encoder.parameters())
    frozen = build(MODEL__CLIP__FINETUNE="none")  # it is what answers itself
    assert frozen.clip_encoder is None
    assert torch.equal(frozen.encode([image]).tensors["clip"], before["clip"])


def test_a_checkpoint_has_no_second_tower_and_needs_none(tmp_path):
    model, plain = build(), build(beta=0.0)
    assert model.state_dict().keys() == plain.state_dict().keys()
    Checkpointer(plain, str(tmp_path)).save("plain")
    with torch.no_grad():
        for parameter in model.image_encoder.parameters():
            parameter.zero_()
    clip = next(model.clip_encoder.parameters()).clone()
    load_for_evaluation(model, str(tmp_path / "plain.pth"))
    assert torch.equal(clip, next(model.clip_encoder.parameters()))
    for one, two in zip(
        model.image_encoder.parameters(), plain.image_encoder.parameters(), strict=True
    ):
        assert torch.equal(one, two)


def test_clips_own_file_is_read_though_the_checkpoint_has_a_tower(tmp_path):
    Checkpointer(build(), str(tmp_path)).save("whole")
    for beta, finetune, read in ((0.8, "full", True), (0.0, "full", False), (0.8, "none", False)):
        cfg = tiny_cfg(
            MODEL__STSEG__ENSEMBLE__BETA=beta,
            MODEL__CLIP__FINETUNE=finetune,
            MODEL__WEIGHTS=str(tmp_path / "whole.pth"),
        )
        spared = spare_encoder_files(cfg).MODEL.CLIP.PRETRAINED
        assert (spared == cfg.MODEL.CLIP.PRETRAINED) == read


def test_clips_map_is_the_one_before_dea():
    model, image = build(dea=True, MODEL__CLIP__FINETUNE="none"), item()["image"].float()
    with torch.no_grad():
        tensors = model.encode([image]).tensors
    assert not torch.equal(tensors["clip"], tensors["dense"])
    assert torch.equal(tensors["clip"], model.image_encoder(image[None])["dense"])
    assert "clip" not in build(beta=0.0, dea=True).encode([image]).tensors
    embeddings = model.embed(WORDS)
    with torch.no_grad():
        one = model.logits(tensors, embeddings, SEEN)[0]
        two = model.logits({**tensors, "clip": tensors["clip"].flip(-1)}, embeddings, SEEN)[0]
    assert torch.equal(one[:, SEEN], two[:, SEEN])
    assert not torch.equal(one[:, ~SEEN], two[:, ~SEEN])


@pytest.mark.parametrize(
    "changes",
    [
        {"MODEL__SEM_SEG_HEAD__NAME": "CosineHead"},
        {"MODEL__SEM_SEG_HEAD__REJECTION_TOPK": 2},
        {"MODEL__SEM_SEG_HEAD__CHUNK_SIZE": 1},
        {"MODEL__DTYPE": "bf16"},
        {"TEST__SLIDING_WINDOW__ENABLED": True, "TEST__SLIDING_WINDOW__SIZE": [48, 48]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_best_class_of_each_pixel_is_that_of_the_confidences(changes):
    model, marked = build(**changes), WORDS.with_seen("sky; tree")
    whole = answer(model, marked)
    assert whole.isfinite().all()
    (best,) = model.label_maps([item(marked)])
    reached = whole.gather(0, best.top_labels.long())
    torch.testing.assert_close(reached[0], whole.amax(0), atol=2e-3, rtol=2e-3)


def test_it_is_exported_with_the_marks():
    model, image = build(dea=True), item()["image"].float()
    encode, logits = (program.module() for program in export_graphs(model, (64, 64)))
    embeddings = model.embed(replace(WORDS, seen=None))
    rows = torch.tensor([True, False, True, False, True, False])
    with torch.no_grad():
        ours = logits(encode(image), embeddings.embeds, rows)[0]
        flat = replace(embeddings, class_index=torch.arange(6), num_classes=6)
        wanted = model.logits(model.encode([image]).tensors, flat, rows)[0]
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)


def test_weights_of_one_and_more_are_refused():
    for key in ("ALPHA", "BETA"):
        with pytest.raises(ValueError, match=rf"ENSEMBLE.{key}: expected a number in \[0, 1\)"):
            setup_cfg(opts=[f"MODEL.STSEG.ENSEMBLE.{key}", "1.0"])
