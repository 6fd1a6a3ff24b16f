"""EBSeg as a whole against the published one's arrays, its weights read from a published file."""

from dataclasses import replace

import pytest
import torch

from stseg.checkpoint import WeightFacts, ebseg_decoders, ebseg_encoders, load_for_evaluation
from stseg.data import load_class_list
from stseg.modeling import build_model
from stseg.structures import Vocabulary
from tests.helpers.ebseg_arrays import assert_within, ebseg_arrays, tensor
from tests.helpers.ebseg_parity import RecordedPoints, targets_of
from tests.helpers.small_ebseg import published_state, small_ebseg
from tests.helpers.tiny_model import tiny_ebseg_cfg

TOLERANCE = 1e-4  # of an array's maximum, for the whole model
#: Published loss by ours.
LOSSES = {
    "loss_ce": "loss_ce",
    "loss_ce_masked": "1_loss_ce",
    "loss_mask": "loss_mask",
    "loss_dice": "loss_dice",
}


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return ebseg_arrays(shared_dir, "tiny_whole_model")


@pytest.fixture(scope="module")
def file(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "EBSeg.pth"
    torch.save({"model": published_state(arrays), "iteration": 119999}, path)
    return str(path)


def loaded(file, **settings):
    model = small_ebseg(**settings)
    load_for_evaluation(model, file)
    return model


def words(arrays):
    names = Vocabulary.from_names([str(name) for name in arrays["names"]])
    return replace(names, seen=tuple(bool(mark) for mark in arrays["seen"]))


@torch.no_grad()
def test_scores_of_a_picture(arrays, file):
    model, vocabulary = loaded(file).eval(), words(arrays)
    features = model.encode([tensor(arrays["image_0"]).float()])
    tensors = features.tensors
    assert_within(tensors["mask_logits"], arrays["eval_mask_logits"], TOLERANCE)
    assert_within(tensors["class_embeds"], arrays["eval_decoder_embeddings"], TOLERANCE)
    assert_within(tensors["masked_embeds"], arrays["eval_masked_attn_embeddings"], TOLERANCE)
    embeddings = model.embed(vocabulary)
    assert_within(model.classifier(embeddings), arrays["class_embeddings"], TOLERANCE)
    (scores,) = model.score(features, embeddings, vocabulary)
    height, width = arrays["output_size_0"].tolist()
    source = scores.at((height, width))
    found = source.take(torch.arange(len(vocabulary)), (0, height), (0, width))
    assert_within(found, arrays["eval_score"], TOLERANCE)


@pytest.fixture(scope="module")
def trained(arrays, file):
    """The model after one backward pass, and its losses."""
    model = loaded(file, points=RecordedPoints(arrays, (4, 0, 1, 2, 3))).train()
    model.targets = lambda batch: targets_of(arrays, "train_")  # some overlap
    batch = [
        {
            "image": tensor(arrays[f"train_image_{image}"]),
            "sem_seg": torch.zeros(64, 96, dtype=torch.int64),
            "vocabulary": words(arrays),
        }
        for image in (0, 1)
    ]
    losses = model(batch)
    sum(losses.values()).backward()
    return model, losses


def test_losses_of_all_rounds(arrays, trained):
    _, losses = trained
    published = {"loss_ssc": "mse_ssc_loss_1"} | {
        f"{ours}{suffix}": f"{theirs}{suffix}"
        for ours, theirs in LOSSES.items()
        for suffix in ("", "_0", "_1", "_2", "_3")
    }
    assert losses.keys() == published.keys()
    for ours, theirs in published.items():
        assert_within(losses[ours], arrays[f"train_loss/{theirs}"], TOLERANCE)


def test_gradients(arrays, trained):
    parameters = dict(trained[0].named_parameters())
    recorded = [key for key in arrays if key.startswith("train_grad/")]
    assert len(recorded) == 9
    for key in recorded:
        published = key.removeprefix("train_grad/")
        ours = ebseg_decoders.rename(ebseg_encoders.rename(published, 4))
        assert_within(parameters[ours].grad, arrays[key], TOLERANCE)


BENCHMARKS = {
    "ade20k_847": ("ade20k_full_sem_seg_val", 115),
    "pascal_context_459_spaced": ("pcontext_full_sem_seg_val", 94),
    "pascal_context_459": ("pcontext_full_sem_seg_val", 94),
    "ade20k_150": ("ade20k_sem_seg_val", 67),
    "pascal_context_59": ("pcontext_sem_seg_val", 51),
    "voc_20": ("voc_sem_seg_val", 20),
    "coco_stuff_171": ("coco_2017_test_stuff_sem_seg", 171),
}


@pytest.mark.parametrize("names", BENCHMARKS)
def test_seen_marks_of_benchmarks_are_the_published_ones(ebseg_fixture, names):
    of_file, count = BENCHMARKS[names]
    vocabulary = Vocabulary.from_names(load_class_list(names), allow_shared_names=True)
    found = build_model(tiny_ebseg_cfg()).seen_marks(vocabulary).numpy()
    assert found.sum() == count
    assert (found == ebseg_fixture("seen_class_maps")[of_file].astype(bool)).all()


def test_other_names_and_weights_that_know_better_go_by_meaning():
    model = build_model(tiny_ebseg_cfg())
    names = load_class_list("pascal_context_59")
    road, whole = names.index("road"), Vocabulary.from_names(names)
    assert not model.seen_marks(whole)[road]
    assert model.seen_marks(Vocabulary.from_names(names[:-1]))[road]
    assert model.seen_marks(whole.with_seen(["road"]))[road]
    model.facts = WeightFacts(trained_on=(("road",),))
    assert model.seen_marks(whole)[road]
