"""Regions named by CLIP in the void of the ground truth, with a CLIP that sees mean colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from torch import nn
from torch.nn import functional as F

import stseg
from stseg.config import check_values, needs_sam, setup_cfg
from stseg.data.datasets.class_lists import load_unseen
from stseg.modeling.meta_arch import STSeg
from stseg.modeling.text import ClassEmbeddings
from stseg.self_training import build_dataset_labeler
from stseg.self_training.crop_encoder import CropEncoder, grown, scaled
from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.self_training.ground_truth import GroundTruth, load_ground_truth
from stseg.self_training.labeler import SamBranch
from stseg.self_training.prompts import whole
from stseg.self_training.refiner import PromptSettings
from stseg.self_training.region_naming import (
    NamingRules,
    candidates,
    name_regions,
    paint,
    void_parts,
)
from stseg.self_training.region_vote import RegionSettings
from stseg.self_training.survey import Survey
from stseg.self_training.target import Target, target_vocabulary
from stseg.self_training.vision_language import VisionLanguageLabeler
from stseg.structures import Vocabulary
from tests.helpers.ranks import Ranks
from tests.helpers.tiny_model import register, tiny_cfg

from . import round_runs as runs

RED, GREEN, BLUE, WHITE = range(4)
WORDS = replace(Vocabulary.parse("red; green; blue; white"), seen=(True, False, False, False))
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)
RULES = NamingRules(min_pixels=16)


class MeanColour(nn.Module):
    """Stands in for an image tower: a picture is its mean colour, in [-1, 1]."""

    image_size, image_mean, image_std = 8, (0.5,) * 3, (0.5,) * 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return images.mean((2, 3)) + self.weight


def make_labeler(rules=RULES, batch_size=32, words=WORDS, scale=20.0, **options):
    vectors = F.normalize(torch.from_numpy(COLOURS / 127.5 - 1).float(), dim=1)
    return VisionLanguageLabeler(
        words,
        encoder=CropEncoder(MeanColour(), batch_size=batch_size),
        embeddings=ClassEmbeddings(vectors[:, None], torch.arange(4), 4),
        logit_scale=scale,
        rules=rules,
        **options,
    )


def picture(classes):
    """(3, H, W) uint8 in the colours of classes (H, W)."""
    return torch.from_numpy(COLOURS[classes]).permute(2, 0, 1)


def confident(classes, sure=0.64):
    """(4, H, W): the classes win with that probability."""
    return F.one_hot(torch.from_numpy(classes), 4).permute(2, 0, 1) * sure


def quarters(height=20, width=24):
    """Left upper red, right upper green, left lower blue, right lower white."""
    rows, columns = np.indices((height, width))
    return 2 * (rows >= height // 2) + (columns >= width // 2)


# --- rules ---


def test_regions_count_by_what_of_them_is_void():
    void = np.zeros((10, 10), bool)
    void[:, 5:] = True
    masks = np.zeros((4, 10, 10), bool)
    masks[0, :, 5:] = True  # 50 pixels, all void
    masks[1, :5, :] = True  # 50, of which 25 are
    masks[2, :5, 1:9] = True  # the same, 20 of 40
    masks[3, :5, 4:6] = True  # 5 of 10
    rules = NamingRules(min_void=0.5, min_pixels=20)
    parts = void_parts(masks, void, rules)
    assert [part.area for part in parts] == [50, 25, 20]
    assert (parts[1].full(void.shape) == (masks[1] & void)).all()
    assert [p.area for p in void_parts(masks, void, replace(rules, min_void=0.51))] == [50]
    assert [p.area for p in void_parts(masks, void, replace(rules, min_pixels=21))] == [50, 25]
    assert void_parts(masks[:0], void, rules) == []
    assert void_parts(np.zeros((1, 10, 10), bool), void, replace(rules, min_pixels=1)) == []


def test_candidates_are_the_most_present_of_the_unseen():
    presence = np.array([0.9, 0.04, 0.3, 0.05, 0.3, 0.06])
    rules = NamingRules(min_presence=0.05, max_candidates=3)
    unseen = {1, 2, 3, 4, 5}
    assert candidates(presence, unseen, rules) == (2, 4, 5)
    assert candidates(presence, unseen, replace(rules, max_candidates=1)) == (2,)
    assert candidates(presence, unseen, replace(rules, max_candidates=9)) == (2, 3, 4, 5)
    assert candidates(presence, unseen, replace(rules, min_presence=0.5)) == ()
    assert candidates(presence, (), rules) == ()


@pytest.mark.parametrize(
    ("shares", "class_id", "reason"),
    [
        ((0.1, 0.2, 0.6, 0.1), 2, ""),
        ((0.6, 0.1, 0.2, 0.1), 0, "seen"),
        ((0.2, 0.2, 0.45, 0.15), 2, "probability 0.45 below 0.50"),
        ((0.45, 0.02, 0.53, 0.0), 2, "margin 0.08 below 0.10"),
    ],
)
def test_a_region_is_named_if_no_seen_class_is_as_near(shares, class_id, reason):
    logits = np.log(np.maximum([shares], 1e-9))
    (name,) = name_regions(logits, {0, 1}, (2, 3), NamingRules())
    assert (name.class_id, name.reason) == (class_id, reason)
    assert name.probability == pytest.approx(shares[class_id], abs=1e-6)


def test_names_that_are_no_candidates_do_not_compete():
    logits = np.log([[0.1, 0.1, 0.2, 0.6]])
    (name,) = name_regions(logits, {0, 1}, (2,), NamingRules())
    assert (name.class_id, name.probability, name.reason) == (2, pytest.approx(0.5), "")
    (alone,) = name_regions(logits, (), (2,), NamingRules())
    assert (alone.probability, alone.reason) == (1.0, "")
    assert name_regions(logits[:0], {0, 1}, (2,), NamingRules()) == []


def test_the_better_scored_region_lies_on_top():
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :, :4], masks[1, :, 2:], masks[2, 0] = True, True, True
    parts = [whole(mask)[0] for mask in masks]
    painted = paint(parts, [1, 2, 3], [0.5, 0.7, 0.5], (4, 6))
    assert painted.dtype == np.int32
    assert painted[0].tolist() == [1, 1, 2, 2, 2, 2]
    assert (painted[1:] == painted[0]).all()
    assert paint(parts[2:], [3], [0.1], (4, 6))[1:].max() == -1
    assert (paint([], [], [], (2, 3)) == -1).all()


@pytest.mark.parametrize("field", ["min_void", "min_prob", "min_margin", "min_presence"])
def test_limits_out_of_range_are_refused(field):
    with pytest.raises(ValueError, match=rf"SELF_TRAINING.VLM.{field.upper()}.*got 1.5"):
        NamingRules(**{field: 1.5})


# --- crops ---


def test_boxes_grow_about_their_centre_and_stay_in_the_picture():
    assert grown((10, 10, 19, 13), 1.5, (40, 60)) == (8, 9, 22, 15)
    assert grown((10, 10, 19, 13), 1.0, (40, 60)) == (10, 10, 20, 14)
    assert grown((0, 0, 59, 39), 1.5, (40, 60)) == (0, 0, 60, 40)
    assert scaled((10, 8, 20, 14), (40, 60), (80, 120)) == (20, 16, 40, 28)
    assert scaled((59, 39, 60, 40), (40, 60), (4, 6)) == (5, 3, 6, 4)  # never empty


def test_a_region_is_shown_alone_and_as_it_is_in_two_boxes():
    classes = np.full((16, 16), BLUE)
    classes[4:12, 4:12] = RED
    mask = classes == RED
    mask[4:8] = False  # half of the red square
    encoder = CropEncoder(MeanColour())
    (part,) = whole(mask)
    alone, kept, wide_alone, wide = encoder.copies(picture(classes), part, mask.shape)
    red, blue = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
    assert torch.equal(kept, red[:, None, None].expand(3, 8, 8)) and torch.equal(alone, kept)
    inside = wide_alone.abs().sum(0) > 0
    assert 0.3 < inside.float().mean() < 0.6 and torch.equal(wide_alone, wide * inside)
    assert torch.allclose(wide[:, -1, -1], blue, atol=0.3)
    small = encoder.copies(picture(classes[::2, ::2]), part, mask.shape)  # any size of the picture
    assert torch.equal(small[0], alone)


def test_a_picture_is_looked_at_whole_and_in_its_corners_and_centre():
    encoder = CropEncoder(MeanColour())
    views = encoder.views(picture(quarters())).mean((2, 3))
    wanted = torch.from_numpy(COLOURS / 127.5 - 1).float()
    assert torch.allclose(views[1:5], wanted, atol=1e-6)
    assert torch.allclose(views[[0, 5]], wanted.mean(0).expand(2, 3), atol=0.02)
    assert encoder.views(torch.zeros(3, 1, 1)).shape == (6, 3, 8, 8)


# --- the labeler ---


def test_void_is_named_and_ground_truth_stays():
    classes = quarters()
    known = np.full(classes.shape, -1, np.int32)
    known[classes == RED] = RED
    known[classes == BLUE] = GREEN  # a person says so, whatever it looks like
    label = make_labeler().label(confident(classes), picture(classes), known=known)
    assert label.label_map.dtype == np.int32
    assert (label.label_map[known >= 0] == known[known >= 0]).all()
    assert (label.label_map[classes == GREEN] == GREEN).all()
    assert (label.label_map[classes == WHITE] == WHITE).all()
    assert (label.initial == classes).all()
    told = {r.name: (r.accepted, r.reason, r.remark, r.refined_pixels) for r in label.classes}
    assert told == {
        "red": (True, "", "ground truth", 120),
        "green": (True, "", "ground truth", 240),
        "blue": (False, "no region is called so", "", 0),
        "white": (True, "", "", 120),
    }
    scores = {r.name: r.score for r in label.classes}
    assert scores["white"] == pytest.approx(0.8, abs=0.01)  # root of a sure name and 0.64
    assert scores["red"] == 1.0


@pytest.mark.parametrize("factor", [1, 2])
def test_a_region_weighs_what_it_scores_and_ground_truth_one(factor):
    classes = quarters()
    known = np.kron(np.where(classes == RED, RED, -1), np.ones((factor, factor))).astype(np.int32)
    asked = confident(classes), picture(classes)
    label = make_labeler().label(*asked, known=known)
    scores = {record.class_id: record.score for record in label.classes}
    assert label.weights.dtype == np.float32 and label.weights.shape == known.shape
    for class_id in (RED, GREEN, BLUE, WHITE):
        weights = label.weights[label.label_map == class_id]
        assert len(weights) and weights == pytest.approx(scores[class_id])
    assert scores[RED] == 1 and scores[WHITE] < 0.9
    plain = make_labeler(weighted=False).label(*asked, known=known)
    assert plain.weights is None and np.array_equal(plain.label_map, label.label_map)
    nothing = make_labeler(replace(RULES, min_pixels=500)).label(*asked)
    assert nothing.weights is None and (nothing.label_map == -1).all()


def test_without_ground_truth_all_is_void_and_leftovers_of_seen_classes_are_refused():
    classes = quarters()
    label = make_labeler().label(confident(classes), picture(classes))
    assert (label.label_map == np.where(classes == RED, -1, classes)).all()
    assert label.classes[RED].reason == "seen: ground truth alone gives it"


def test_ground_truth_of_another_size_is_kept_pixel_by_pixel():
    classes = quarters()
    known = np.full((40, 48), -1, np.int32)
    known[::2, ::3] = RED  # stripes that the label's size cannot hold
    rules = replace(RULES, min_void=0.0)
    label = make_labeler(rules).label(confident(classes), picture(classes), known=known)
    assert label.label_map.shape == known.shape and label.initial.shape == classes.shape
    assert ((label.label_map == RED) == (known == RED)).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vetoed": [GREEN]}, "vetoed"),
        ({"rules": replace(RULES, min_presence=0.99), "scale": 2.0}, "presence"),
        ({"rules": replace(RULES, max_candidates=1), "scale": 2.0}, "not among the 1 most"),
        ({"rules": replace(RULES, min_pixels=500)}, "no region to name"),
        ({"rules": replace(RULES, min_prob=1.0), "scale": 2.0}, "probability"),
        ({"rules": replace(RULES, min_margin=1.0), "scale": 2.0}, "margin"),
    ],
)
def test_a_record_says_why_a_class_got_nothing(options, told):
    classes = quarters()
    classes[0, 0] = GREEN
    image = picture(classes)
    image[0, :3, 12:] = 255  # no view of the picture is all green
    label = make_labeler(**options).label(confident(classes), image)
    assert not (label.label_map == GREEN).any()
    record = label.classes[GREEN]
    assert not record.accepted and record.reason.startswith(told)


def test_clip_is_not_asked_where_there_is_nothing_to_name():
    classes = quarters()
    all_seen = replace(WORDS, seen=(True,) * 4)
    known = np.full(classes.shape, RED, np.int32)
    cases = [
        (make_labeler(), known),
        (make_labeler(words=all_seen), None),
        (make_labeler(replace(RULES, min_pixels=481)), None),
    ]
    for labeler, truth in cases:
        label = labeler.label(confident(classes), picture(classes), known=truth)
        assert not labeler._encoder.visual.batches
        assert (label.label_map == (-1 if truth is None else RED)).all()
    labeler = make_labeler(replace(RULES, min_presence=0.99), scale=2.0)
    assert (labeler.label(confident(classes), picture(classes)).label_map == -1).all()
    assert labeler._encoder.visual.batches == [6]  # no candidate: no region is looked at


def test_a_picture_of_one_pixel_is_labelled():
    one = np.zeros((1, 1), np.int64) + GREEN
    label = make_labeler(NamingRules(min_pixels=1)).label(confident(one), picture(one))
    assert label.label_map.tolist() == [[GREEN]]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_size_of_batches_does_not_matter(batch_size):
    torch.manual_seed(0)
    classes = quarters()
    image = (picture(classes).float() + 60 * torch.randn(3, 20, 24)).clamp(0, 255)
    found = [
        make_labeler(batch_size=n, scale=3.0).label(confident(classes), image)
        for n in (32, batch_size)
    ]
    assert (found[0].label_map == found[1].label_map).all() and found[0].coverage > 0
    for one, two in zip(found[0].classes, found[1].classes, strict=True):
        assert replace(one, score=0.0) == replace(two, score=0.0)
        assert one.score == pytest.approx(two.score, abs=1e-5)


def test_regions_of_sam_are_named_where_they_are_asked_for(monkeypatch):
    regions = np.zeros((2, 20, 24), bool)
    regions[0], regions[1, 12:, 14:] = True, True
    asked = []

    def find(*arguments):
        asked.append(arguments)
        return regions

    class Encoder(nn.Module):
        input_size, patch_size = 64, 16

    monkeypatch.setattr("stseg.self_training.vision_language.find_regions", find)
    settings = RegionSettings(points_per_side=2)
    sam = SamBranch(Encoder(), None, None, prompts=PromptSettings(), vote=settings)
    classes, embedding = quarters(), torch.zeros(1, 1, 4, 4)
    label = make_labeler(sam=sam).label(confident(classes), picture(classes), embedding)
    assert asked[0][2] is embedding and asked[0][4] is settings
    assert (label.label_map[regions[1]] == WHITE).all()


def test_the_best_regions_of_each_class_over_all_images_are_kept():
    """Four pictures, of which the model is more and less sure; three are 60 % of them at least."""
    levels = (0.3, 0.9, 0.5, 0.7)
    classes = quarters()
    items = [
        {"image": picture(classes), "file_name": f"{k}.png", "height": 20, "width": 24, "sure": s}
        for k, s in enumerate(levels)
    ]

    class Sure(nn.Module):
        def forward(self, batch):
            return [{"sem_seg": confident(classes, item["sure"])} for item in batch]

    target = Target("target", tuple({"file_name": item["file_name"]} for item in items), WORDS)
    labeler = DatasetLabeler(
        target=target,
        labeler=make_labeler(keep=0.6),
        items=lambda records: [items[int(r["file_name"][0])] for r in records],
    )
    assert labeler.needs_survey
    survey = labeler.survey(Sure())
    assert sorted(survey.classes.tolist()) == sorted([GREEN, BLUE, WHITE] * 4)
    limits = labeler.thresholds_of(survey)
    labels = [labeler.label(Sure(), item, limits) for item in items]
    assert [label.coverage > 0 for label in labels] == [False, True, True, True]
    assert labels[0].classes[WHITE].reason.startswith("score 0.5")
    every = DatasetLabeler(target=target, labeler=make_labeler(keep=1.0), items=list)
    assert not every.needs_survey and every.label(Sure(), items[0]).coverage == 0.75
    none = make_labeler().limits_of(Survey.joined([]), 0.25)
    assert (none == 1).all() and none.dtype == np.float32


def test_another_clip_limit_or_ground_truth_makes_other_labels():
    truth = GroundTruth({}, np.asarray, (0,), "digest")
    with torch.no_grad():
        other = make_labeler()
        other._encoder.visual.weight += 1
    made = [
        make_labeler().facts(),
        other.facts(),
        make_labeler(replace(RULES, min_prob=0.6)).facts(),
        make_labeler(truth=truth).facts(),
        make_labeler(words=replace(WORDS, seen=(False,) * 4)).facts(),
        make_labeler(text_digest="of another tower").facts(),
        make_labeler(weighted=False).facts(),
    ]
    assert len({str(facts) for facts in made}) == len(made)
    assert make_labeler(batch_size=1).facts() == made[0]
    # Labels without weights are those of before there were any: their folders serve on.
    before = {"clip", "text", "rules", "named", "ground_truth"}
    assert made[-1].keys() == before and made[0].keys() - before == {"weighted"}


# --- ground truth ---


@pytest.fixture
def labelled(tmp_path, clean_catalog):
    """A data set of seen classes in another order, and the target with an image more."""
    records = []
    for k in range(3):
        Image.fromarray(np.full((2, 3), (1, 255, 0)[k], np.uint8)).save(tmp_path / f"{k}.png")
        records.append(
            {"file_name": str(tmp_path / f"{k}.jpg"), "sem_seg_file_name": f"{tmp_path}/{k}.png"}
        )
    words = replace(WORDS, seen=(True, False, True, False))
    DatasetCatalog.register("seen_labels", lambda: records)
    MetadataCatalog.get("seen_labels").set(stuff_classes=["blue", "red"], ignore_label=255)
    files = [*(record["file_name"] for record in records), str(tmp_path / "more.jpg")]
    return Target("target", tuple({"file_name": file} for file in files), words)


def test_labels_of_a_data_set_are_found_by_image_and_name(labelled):
    truth = load_ground_truth("seen_labels", labelled)
    maps = [truth.of(record["file_name"]) for record in labelled.records]
    assert [None if m is None else np.unique(m).tolist() for m in maps] == [[0], [-1], [2], None]
    assert maps[0].dtype == np.int32 and maps[0].shape == (2, 3)


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_what_the_files_hold_is_known_whoever_reads_them(labelled, monkeypatch, processes):
    alone = load_ground_truth("seen_labels", labelled).digest
    load = lambda rank: load_ground_truth("seen_labels", labelled).digest  # noqa: E731
    assert set(Ranks(processes).run(monkeypatch, load)) == {alone}
    file = DatasetCatalog.get("seen_labels")[0]["sem_seg_file_name"]
    Image.fromarray(np.full((2, 3), 255, np.uint8)).save(file)
    assert load(0) != alone


@pytest.mark.parametrize("processes", [1, 2])
def test_a_pixel_of_an_unseen_class_ends_the_run(labelled, monkeypatch, processes):
    words = replace(labelled.vocabulary, seen=(True, False, False, False))
    target = replace(labelled, vocabulary=words)
    message = r"2\.png: expected no pixel of an unseen class in .*GROUND_TRUTH, got 6 of 'blue'"

    def load(rank):
        with pytest.raises(ValueError, match=message) as caught:
            load_ground_truth("seen_labels", target)
        assert "Name a data set that leaves it out" in str(caught.value)

    Ranks(processes).run(monkeypatch, load)


def test_ground_truth_that_does_not_fit_is_refused(labelled):
    elsewhere = replace(labelled, records=({"file_name": "elsewhere.jpg"},))
    with pytest.raises(ValueError, match=r"GROUND_TRUTH: expected label maps of some of the 1"):
        load_ground_truth("seen_labels", elsewhere)
    others = replace(labelled, vocabulary=Vocabulary.parse("red; green"))
    with pytest.raises(ValueError, match=r"classes the target has, too.*'blue'"):
        load_ground_truth("seen_labels", others)
    with pytest.raises(ValueError, match=r"GROUND_TRUTH: expected a registered data set"):
        load_ground_truth("nowhere", labelled)
    truth = load_ground_truth("seen_labels", labelled)
    item = {"file_name": labelled.records[0]["file_name"], "height": 3, "width": 2}
    with pytest.raises(ValueError, match=r"expected ground truth of the image's 3 x 2.*got 2 x 3"):
        make_labeler(truth=truth).label_item(item, torch.rand(4, 3, 2), torch.zeros(3, 3, 2))


# --- as a config asks for it ---


def test_the_recipe_for_coco_stuff_marks_the_unseen_classes_of_the_split():
    path = Path(stseg.__file__).parents[1] / "configs" / "cel" / "adapt_coco_156.yaml"
    words = target_vocabulary(setup_cfg(path, device="cpu"))
    unseen = {k for k, is_seen in enumerate(words.seen) if not is_seen}
    assert unseen == set(load_unseen("coco_stuff_156_15"))


def vlm_cfg(**changes):
    return tiny_cfg(
        SELF_TRAINING__LABELER="VisionLanguageLabeler",
        SELF_TRAINING__VLM__MIN_PIXELS=16,
        **{f"SELF_TRAINING__VLM__{key}": value for key, value in changes.items()},
    )


@pytest.mark.parametrize("weighted", [True, False])
def test_weights_are_a_key(tmp_path, weighted):
    register(tmp_path)
    cfg = vlm_cfg(WEIGHTED=weighted)
    labeler = build_dataset_labeler(cfg, Target("target", (), WORDS), STSeg(cfg).eval())
    assert labeler.labeler.weighted == weighted and vlm_cfg().SELF_TRAINING.VLM.WEIGHTED


@pytest.mark.parametrize("proposals", ["model", "sam"])
def test_the_text_tower_is_the_models_own(tmp_path, proposals, monkeypatch):
    register(tmp_path)
    cfg = vlm_cfg(PROPOSALS=proposals, MIN_PRESENCE=0.0, MIN_PROB=0.0, MIN_MARGIN=0.0)
    cfg.SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE = 2
    assert needs_sam(cfg) == (proposals == "sam")
    model = STSeg(cfg).eval()
    monkeypatch.setattr("stseg.self_training.vision_language.build_text_encoder", None)
    target = Target("target", (), WORDS)
    labeler = build_dataset_labeler(cfg, target, model)
    assert (labeler.labeler.sam is not None) == (proposals == "sam")
    assert not any(p.requires_grad for p in labeler.labeler._encoder.parameters())
    item = {"image": picture(quarters(48, 64)), "file_name": "a.png", "vocabulary": WORDS}
    with torch.no_grad():
        label = labeler.label(model, {**item, "height": 48, "width": 64})
    assert label.label_map.shape == (48, 64)
    assert not (label.label_map == RED).any()


def test_batches_that_are_labelled_one_by_one_are_refused():
    cfg = vlm_cfg()
    cfg.SELF_TRAINING.ENABLED = cfg.SELF_TRAINING.ONLINE = True
    cfg.MODEL.LOSS.IGNORED, cfg.SOLVER.WARMUP_ITERS = "masked", 0
    with pytest.raises(ValueError, match=r"SELF_TRAINING.ONLINE: expected False with"):
        check_values(cfg)


# --- rounds ---

COUNT = 3
KEYS = {
    "MODEL.CLIP.NAME": "test_tiny_vit",
    "MODEL.CLIP.PRETRAINED": "random",
    "SELF_TRAINING.LABELER": "VisionLanguageLabeler",
    "SELF_TRAINING.VLM.MIN_PIXELS": 16,
    "SELF_TRAINING.VLM.MIN_PRESENCE": 0.0,
    "SELF_TRAINING.VLM.MIN_PROB": 0.0,
    "SELF_TRAINING.VLM.MIN_MARGIN": 0.0,
    "SELF_TRAINING.VLM.GROUND_TRUTH": "vlm_seen",
    "MODEL.SAM.CHECKPOINT": "",  # nobody asks SAM
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images, with labels of two of four classes."""
    folder = runs.make_images(tmp_path_factory.mktemp("vlm") / "data", count=COUNT)
    (folder / "seen").mkdir()
    for path in sorted((folder / "labels").iterdir()):
        label = np.asarray(Image.open(path))
        Image.fromarray(np.where(label < 2, label, 255)).save(folder / "seen" / path.name)
    (folder / "known.txt").write_text("\n".join(runs.NAMES[:2]))
    return folder


def argv_of(data, output, labels="seen", flags=(), **changes):
    entry = {
        "name": "vlm_seen",
        "images": str(data / "images"),
        "labels": str(data / labels),
        "names": str(data / "names.txt"),
    }
    keys = {
        **KEYS,
        "DATASETS.FOLDERS": [entry],
        "SELF_TRAINING.SOURCE_VOCABULARY": str(data / "known.txt"),
    }
    return runs.make_argv(data, output, {**keys, **changes}, flags)


def test_rounds_train_on_ground_truth_and_what_clip_names(data, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    assert runs.run_in_process(argv_of(data, folder), log) == 0, log.read_text()
    assert "rounds.json" in {path.name for path in (folder / "self_training").iterdir()}
    assert (folder / "self_training" / "round_01.html").read_text().count("ground truth") >= 1
    made = sorted(folder.glob("self_training/round_01-*/labels/*"))
    assert len(made) == COUNT
    assert list(folder.glob("self_training/round_01-*/weights/*"))
    named = 0
    for path, truth in zip(made, sorted((data / "seen").iterdir()), strict=True):
        label, known = (np.asarray(Image.open(file)) for file in (path, truth))
        assert (label[known < 255] == known[known < 255]).all()
        assert set(np.unique(label[known == 255])) <= {2, 3, 255}
        named += (label[known == 255] < 255).sum()
    assert named > 0


def test_a_run_that_is_killed_goes_on_with_the_same_labels(data, tmp_path):
    whole, folder, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    assert runs.run_in_process(argv_of(data, whole), log) == 0, log.read_text()
    kill = (runs.kill_at, "stseg.self_training.store_records:ImageRecord", "encode", 5)
    assert runs.run_in_process(argv_of(data, folder), log, kill) < 0
    argv = argv_of(data, folder, flags=["--resume"])
    assert runs.run_in_process(argv, log) == 0, log.read_text()
    assert runs.labels(folder) == runs.labels(whole) and len(runs.labels(folder)) == 2 * COUNT


def test_labels_can_be_looked_at_before(data, tmp_path):
    folder, log = tmp_path / "look", tmp_path / "log"
    argv = argv_of(data, folder, flags=["--preview", "2"])
    assert runs.run_in_process(argv, log) == 0, log.read_text()
    preview = folder / "self_training" / "preview"
    assert "ground truth" in (preview / "round_01.html").read_text()
    assert len(list(preview.glob("round_01-*/labels/*"))) == 2


def test_a_leak_ends_the_run_before_anything_is_trained(data, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    assert runs.run_in_process(argv_of(data, folder, labels="labels"), log) > 0
    assert "expected no pixel of an unseen class" in log.read_text()
    assert not list(folder.glob("*.pth")) and not list(folder.glob("self_training/round_*"))


def test_a_run_without_any_label_says_what_to_do(data, tmp_path):
    changes = {
        "SELF_TRAINING.VLM.GROUND_TRUTH": "",
        "SELF_TRAINING.VLM.MIN_PROB": 1.0,
        "SELF_TRAINING.VLM.MIN_MARGIN": 1.0,
    }
    folder, log = tmp_path / "run", tmp_path / "log"
    assert runs.run_in_process(argv_of(data, folder, **changes), log) > 0
    assert "lower SELF_TRAINING.VLM.MIN_PRESENCE" in log.read_text()
    assert "GATE.THRESH" not in (folder / "self_training" / "round_01.html").read_text()
