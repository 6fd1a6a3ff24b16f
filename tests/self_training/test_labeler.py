"""Gate, refine and merge as one, with a refiner and encoders that answer as they are told."""

import numpy as np
import pytest
import torch

from stseg.self_training import labeler as module
from stseg.self_training.labeler import Labeler, SamBranch
from stseg.self_training.refiner import PromptSettings, RefinedMask
from stseg.self_training.region_vote import RegionSettings
from tests.helpers.sam_fakes import EchoMaskDecoder, EchoPromptEncoder

NAMES = ("left", "right", "corner", "nowhere")
IMAGE = torch.zeros(3, 12, 24)
EMBEDDING = torch.zeros(1, 1, 4, 4)


class Encoder:
    """Says which way it was asked."""

    input_size, patch_size = 64, 16

    def __init__(self):
        self.asked = []

    def __call__(self, images):
        self.asked.append(("stretched", tuple(images.shape)))
        return {"sam": EMBEDDING + 1}

    def encode_padded(self, image):
        self.asked.append(("padded", tuple(image.shape)))
        return EMBEDDING + 2


class Refiner:
    """Widens every mask by two columns on each side, and rates it by its place in the list."""

    calls, ratings = [], (0.5, 0.9)

    def __init__(self, prompt_encoder, mask_decoder, *, settings):
        pass

    def refine(self, embedding, frame, masks):
        self.calls.append((embedding, frame, masks))
        padded = np.pad(masks, ((0, 0), (0, 0), (2, 2)))
        wide = np.any([padded[..., k : k + masks.shape[2]] for k in range(5)], axis=0)
        return [RefinedMask(mask, self.ratings[k]) for k, mask in enumerate(wide)]


@pytest.fixture
def refiner(monkeypatch):
    monkeypatch.setattr(Refiner, "calls", [])
    monkeypatch.setattr(module, "SamRefiner", Refiner)
    return Refiner


def branch(**options):
    return SamBranch(Encoder(), None, None, prompts=PromptSettings(), **options)


def probabilities():
    """(4, 6, 12): columns 0 to 4 are left, 5 to 11 right, but for 2 x 3 pixels of a corner."""
    probs = torch.full((4, 6, 12), 0.01)
    probs[0, :, :5] = 0.95
    probs[1, :, 5:] = 0.92
    probs[:, :2, 9:] = 0.01
    probs[2, :2, 9:] = 0.6
    return probs


@pytest.mark.parametrize(("ratings", "border"), [((0.5, 0.9), 3), ((0.9, 0.5), 7)])
def test_the_gate_decides_what_is_refined_and_the_better_mask_lies_on_top(
    refiner, monkeypatch, ratings, border
):
    monkeypatch.setattr(refiner, "ratings", ratings)
    label = Labeler(NAMES, sam=branch()).label(probabilities(), IMAGE, EMBEDDING)
    ((embedding, frame, masks),) = refiner.calls
    assert embedding is EMBEDDING
    assert (frame.height, frame.width, frame.size, frame.low) == (6, 12, 64, 16)
    initial = probabilities().argmax(0).numpy()
    assert (masks == np.stack([initial == 0, initial == 1])).all()
    wanted = np.ones((6, 12), np.int32)
    wanted[:, :border] = 0
    wanted[:2, 11] = -1  # of the corner, which nothing accepted reaches
    assert label.label_map.dtype == np.int32
    assert (label.label_map == wanted).all()
    assert (label.initial == initial).all()
    assert [(r.name, r.accepted, r.reason, r.predicted_iou) for r in label.classes] == [
        ("left", True, "", ratings[0]),
        ("right", True, "", ratings[1]),
        ("corner", False, "score 0.60 below 0.90", None),
    ]
    assert [r.initial_pixels for r in label.classes] == [30, 36, 6]
    assert [r.refined_pixels for r in label.classes] == [border * 6, 70 - border * 6, 0]


def test_a_vetoed_class_is_never_asked_for(refiner):
    label = Labeler(NAMES, vetoed=[1], sam=branch()).label(probabilities(), IMAGE, EMBEDDING)
    assert len(refiner.calls[0][2]) == 1
    assert set(np.unique(label.label_map)) == {-1, 0}
    assert (label.classes[1].accepted, label.classes[1].reason) == (False, "vetoed")


def test_sam_is_left_alone_where_nothing_is_accepted(refiner):
    sam = branch()
    label = Labeler(NAMES, threshold=0.99, sam=sam).label(probabilities(), IMAGE)
    assert not refiner.calls and not sam.encoder.asked
    assert (label.label_map == -1).all() and label.coverage == 0
    assert [r.accepted for r in label.classes] == [False] * 3
    assert all("below 0.99" in r.reason for r in label.classes)


def test_thresholds_of_a_call_replace_those_of_the_start(refiner):
    limits = np.array([0.99, 0.9, 0.5, 0.9], np.float32)
    label = Labeler(NAMES, sam=branch()).label(probabilities(), IMAGE, EMBEDDING, limits)
    assert [r.accepted for r in label.classes] == [False, True, True]


def test_without_sam_the_accepted_masks_stay_as_they_are():
    label = Labeler(NAMES).label(probabilities(), IMAGE)
    assert (label.label_map == np.where(label.initial == 2, -1, label.initial)).all()
    assert {r.predicted_iou for r in label.classes} == {None}


@pytest.mark.parametrize(
    ("frame", "given", "asked", "mark"),
    [
        ("stretched", EMBEDDING, [], 0),
        ("stretched", None, [("stretched", (1, 3, 12, 24))], 1),
        ("padded", EMBEDDING, [("padded", (3, 12, 24))], 2),
    ],
)
def test_the_models_embedding_is_used_where_it_fits_the_frame(refiner, frame, given, asked, mark):
    sam = branch(frame=frame)
    Labeler(NAMES, sam=sam).label(probabilities(), IMAGE, given)
    ((embedding, used, _),) = refiner.calls
    assert sam.encoder.asked == asked
    assert (embedding == mark).all()
    assert (used.scaled_height, used.scaled_width) == (
        (64, 64) if frame == "stretched" else (32, 64)
    )


def test_a_decoder_that_echoes_gives_the_accepted_masks_back():
    parts = Encoder(), EchoPromptEncoder(64), EchoMaskDecoder()
    sam = SamBranch(*parts, prompts=PromptSettings(("mask",), min_iou_with_initial=0.0))
    probs = probabilities().repeat_interleave(8, 1).repeat_interleave(8, 2)
    label = Labeler(NAMES, sam=sam).label(probs, IMAGE, EMBEDDING)
    known = (label.label_map >= 0) & (label.initial < 2)
    assert known.mean() > 0.8
    assert (label.label_map == label.initial)[known].mean() > 0.97
    assert [r.predicted_iou for r in label.classes] == [pytest.approx(0.8)] * 2 + [None]


def test_a_vote_names_regions_after_accepted_classes_only(monkeypatch):
    regions = np.zeros((2, 6, 12), bool)
    regions[0, :, :4] = True
    regions[1, :2, 9:] = True
    asked = []

    def find(*arguments):
        asked.append(arguments)
        return regions

    monkeypatch.setattr(module, "find_regions", find)
    settings = RegionSettings(points_per_side=2)
    label = Labeler(NAMES, sam=branch(vote=settings)).label(probabilities(), IMAGE, EMBEDDING)
    assert asked[0][2] is EMBEDDING and asked[0][4] is settings
    assert (label.label_map == np.where(regions[0], 0, -1)).all()
    assert [r.refined_pixels for r in label.classes] == [24, 0, 0]


def synonyms():
    """ "house" and "building" are nearly as sure of the same half; the one wins it all."""
    probs = torch.zeros(3, 40, 40)
    probs[0, :, :20], probs[1, :, :20] = 0.97, 0.95
    probs[2, :, 20:] = 0.15
    probs[1, 10:30, 25:] = 0.20
    return probs


def test_a_class_does_not_pass_by_pixels_that_its_synonym_wins():
    names = ("house", "building", "sky")
    label = Labeler(names).label(synonyms(), torch.zeros(3, 40, 40))
    assert not (label.label_map == 1).any() and (label.label_map == 0).sum() == 800
    assert [r.reason for r in label.classes][1:] == [
        "score 0.20 below 0.90",
        "score 0.15 below 0.90",
    ]
    letter = Labeler(names, scoring="max", min_pixel=0.0).label(synonyms(), torch.zeros(3, 40, 40))
    assert (letter.label_map == 1).sum() == 300  # by the letter of the paper


def test_pixels_below_the_floor_are_neither_shown_to_sam_nor_labelled(refiner):
    probs = probabilities()
    probs[0, :, 0] = 0.4  # still wins the column
    plain = Labeler(NAMES, min_pixel=0.5).label(probs, IMAGE)
    assert (plain.label_map[:, 0] == -1).all() and (plain.label_map[:, 1:5] == 0).all()
    assert plain.classes[0].initial_pixels == 30 and plain.classes[0].refined_pixels == 24
    Labeler(NAMES, min_pixel=0.5, sam=branch()).label(probs, IMAGE, EMBEDDING)
    ((_, _, masks),) = refiner.calls
    assert not masks[0][:, 0].any() and masks[0][:, 1:5].all()
