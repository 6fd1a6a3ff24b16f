"""Predictions that self-training labels and judges with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import nn

from stseg.checkpoint import WeightFacts
from stseg.data.readers import register_images
from stseg.modeling.meta_arch import STSeg
from stseg.modeling.scores import Tiles
from stseg.self_training.corrections import Correction
from stseg.self_training.dataset_labeler import DatasetLabeler, predict, predict_labels
from stseg.self_training.from_config import build_dataset_labeler
from stseg.self_training.labeler import LABELER_REGISTRY, Labeler
from stseg.self_training.survey import Survey
from stseg.self_training.target import Target
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.ranks import Ranks
from tests.helpers.systems import CaptionFake
from tests.helpers.tiny_model import register, tiny_cfg


class Scores(nn.Module):
    """Answers with given scores, whatever it sees."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, inputs):
        return [{"sem_seg": self.scores} for _ in inputs]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.0])
@pytest.mark.parametrize("ask", [predict, predict_labels])
def test_what_is_no_probability_is_refused_and_the_image_named(ask, value):
    scores = torch.rand(3, 4, 6)
    item = {
        "image": torch.zeros(3, 4, 6),
        "file_name": "photos/a.jpg",
        "vocabulary": Vocabulary.parse("a; b; c"),
        "height": 4,
        "width": 6,
    }
    ask(Scores(scores), item, 100)
    scores[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match=r"photos/a.jpg: expected finite probabilities"):
        ask(Scores(scores), item, 100)


def leaves(node, path=""):
    """(node, key, path) of every value in a config."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield node, key, f"{path}{key}"


def changed(value):
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1
    return [*value, 1] if isinstance(value, (list, tuple)) else value + type(value)(1)


#: Keys and sections that no pseudo-label depends on. Written out here as well: one that is put
#: among them by mistake, or has another name by now, is noticed.
HARMLESS = """
    CUDNN_BENCHMARK DATALOADER DATASETS GLOBAL OUTPUT_DIR SEED SOLVER VERSION VIS_PERIOD
    INPUT.BLUR_SIGMA INPUT.CAPTION_MAPPER_NAME INPUT.COLOR_AUG_SSD INPUT.CROP INPUT.MASK_FORMAT
    INPUT.MAX_SIZE_TRAIN
    INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN_SAMPLING INPUT.NOISE_STD INPUT.RANDOM_FLIP
    MODEL.CEL.LOSSES MODEL.CEL.NUM_POINTS MODEL.CEL.ABSENT
    MODEL.CLIP.DROP_PATH MODEL.CLIP.FINETUNE MODEL.CLIP.GRADIENT_CHECKPOINTING
    MODEL.CLIP.PRETRAINED MODEL.DEVICE MODEL.EBSEG.POSITIONS_TRAINED MODEL.EBSEG.SSC_WEIGHT
    MODEL.LOSS.IGNORED MODEL.PARTIAL_WEIGHTS_ENABLED
    MODEL.SAM.CHECKPOINT MODEL.SEM_SEG_HEAD.CHUNK_SIZE MODEL.SEM_SEG_HEAD.GRADIENT_CHECKPOINTING
    MODEL.SEM_SEG_HEAD.KEPT_MIB MODEL.SEM_SEG_HEAD.POOLING_SIZE_TRAIN
    MODEL.SEM_SEG_HEAD.PRIOR_PROB MODEL.STSEG.DEA.INIT MODEL.STSEG.DEA.PULL_WEIGHT
    MODEL.STSEG.GUIDANCE_DETACHED
    MODEL.TEXT.CACHE_DIR MODEL.TEXT.CACHE_GIB MODEL.TEXT.CHUNK_SIZE MODEL.WEIGHTS
    SELF_TRAINING.ALPHA SELF_TRAINING.BALANCED_SAMPLING SELF_TRAINING.ENABLED
    SELF_TRAINING.GUARD SELF_TRAINING.IMAGES SELF_TRAINING.ONLINE SELF_TRAINING.PREVIEW
    SELF_TRAINING.REFINE.BATCH_SIZE SELF_TRAINING.ROUNDS SELF_TRAINING.ROUND_ITERS
    SELF_TRAINING.ROUND_WARMUP
    SELF_TRAINING.SAM_CACHE_DIR SELF_TRAINING.SAM_CACHE_GIB SELF_TRAINING.SOURCE
    SELF_TRAINING.SOURCE_VOCABULARY SELF_TRAINING.VETO_FILE SELF_TRAINING.VLM.BATCH_SIZE
    SELF_TRAINING.VLM.WEIGHTED SELF_TRAINING.VOCABULARY
    TEST.BEST_METRIC TEST.EVALUATOR TEST.EVAL_PERIOD TEST.EXPECTED_RESULTS TEST.PICTURES
""".split()
#: What decides without being a name that is walked: an unknown labeler is refused.
WALKED_ELSEWHERE = ("SELF_TRAINING.LABELER",)


def is_harmless(path):
    if path == "SOLVER.MATMUL_PRECISION":
        return False
    return any(path == key or path.startswith(f"{key}.") for key in HARMLESS)


@pytest.fixture
def folder_of(tmp_path):
    """The folder that a store would have for a config and a target."""
    register(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    base = Target(
        "target", ({"file_name": str(tmp_path / "a.jpg")},), Vocabulary.parse("a; b"), frozenset()
    )

    def folder(cfg, weights="weights", **changes):
        labeler = build_dataset_labeler(cfg, replace(base, **changes), nn.Linear(1, 1))
        return labeler.store(tmp_path, 1, weights).folder

    return folder


def test_every_key_changed_alone_makes_another_store_unless_it_is_known_to_be_harmless(folder_of):
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False)
    base, folders, harmless = folder_of(cfg), [], set()
    for node, key, path in leaves(cfg):
        if path in WALKED_ELSEWHERE:
            continue
        before = node[key]
        dict.__setitem__(node, key, changed(before))
        found = folder_of(cfg)
        node[key] = before
        if is_harmless(path):
            harmless.update(x for x in HARMLESS if path == x or path.startswith(f"{x}."))
            assert found == base, path
        else:
            assert found != base, path
            folders.append(found)
    assert folder_of(cfg) == base
    assert len(set(folders)) == len(folders) > 100
    assert harmless == set(HARMLESS)


def test_other_weights_of_sam_under_the_same_name_make_another_store(folder_of):
    cfg = tiny_cfg()  # a random SAM: each is another
    torch.manual_seed(0)
    first = folder_of(cfg)
    torch.manual_seed(0)
    assert folder_of(cfg) == first
    torch.manual_seed(1)
    assert folder_of(cfg) != first


def test_weights_names_images_and_vetoes_make_another_store_and_speed_does_not(folder_of, tmp_path):
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False)
    (tmp_path / "b.jpg").write_bytes(b"another")
    folders = [
        folder_of(cfg),
        folder_of(cfg, weights="others"),
        folder_of(cfg, vocabulary=Vocabulary.parse("a; c")),
        folder_of(cfg, vocabulary=Vocabulary.parse("a; b, c")),
        folder_of(cfg, records=({"file_name": str(tmp_path / "b.jpg")},)),
        folder_of(cfg, vetoed=frozenset([0])),
        folder_of(cfg, vetoed=frozenset([1])),
        folder_of(cfg, vetoed=frozenset([0, 1])),
        folder_of(cfg, corrections=(Correction("a.jpg", (((0, 0), (9, 0), (9, 9)),), 0),)),
        folder_of(cfg, corrections=(Correction("a.jpg", (((0, 0), (9, 0), (9, 8)),), 0),)),
        folder_of(cfg, corrections=(Correction("a.jpg", (((0, 0), (9, 0), (9, 8)),), 1),)),
        folder_of(cfg, name="of other metadata"),
    ]
    assert len(set(folders)) == len(folders)
    cfg.SELF_TRAINING.REFINE.BATCH_SIZE = 4
    assert folder_of(cfg) == folders[0]


def test_marks_of_what_stage_1_had_count_for_a_model_that_asks_for_them(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a picture")
    words = Vocabulary.parse("a; b")
    target = Target("target", ({"file_name": str(tmp_path / "a.jpg")},), words)
    cfg, model = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False), nn.Linear(1, 1)
    for model.asks_seen in (False, True):
        folders = {
            build_dataset_labeler(cfg, target, model).store(tmp_path, 1, "weights").folder
            for target in (target, replace(target, vocabulary=words.with_seen("b")))
        }
        assert len(folders) == 1 + model.asks_seen


class Bars(nn.Module):
    """Two classes; the first wins the left half, as surely as the image is bright, or nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        answers = []
        for item in batch:
            size = item["height"], item["width"]
            sure = item["image"].float().mean() / 255
            left = torch.arange(size[1]).expand(size) < size[1] // 2
            first = torch.where(left & (sure > 0.5), sure, 0.5 * sure)
            answers.append({"sem_seg": torch.stack([first, torch.full(size, 0.5)])})
        return answers


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_a_quantile_is_over_the_images_that_a_class_wins_in_all_processes(
    tmp_path, monkeypatch, processes, clean_catalog
):
    # Won by the first class at 0.6, 0.7 and 0.8: the middle passes. Two others it does not win.
    levels = (0.1, 0.8, 0.2, 0.6, 0.7)
    for k, level in enumerate(levels):
        grey = np.full((6, 8, 3), round(255 * level), np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{k}.png")
    register_images("bars", str(tmp_path), "a; b")
    records = tuple({"file_name": str(tmp_path / f"{k}.png")} for k in range(len(levels)))
    target = Target("bars", records, Vocabulary.parse("a; b"), frozenset())
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False, SELF_TRAINING__GATE__QUANTILE=0.5)
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TEST", 0])
    gathered = []

    def fill(rank):
        labeler = build_dataset_labeler(cfg, target, Bars())
        store = labeler.store(tmp_path, 1, "weights")
        labeler.fill(store, Bars(), [])
        return store

    store = Ranks(processes, gathered).run(monkeypatch, fill)[-1]
    firsts = [store.image_record(k).classes[0] for k in range(len(levels))]
    assert [k for k, first in enumerate(firsts) if first.accepted and first.name == "a"] == [1, 4]
    # Of thresholds no more is sent than the classes that an image has.
    scores = [part.scores for part in gathered if isinstance(part, Survey)]
    assert len(scores) == processes
    assert sum(map(len, scores)) == sum(2 if x > 0.5 else 1 for x in levels)


def test_a_persons_regions_are_in_every_label_whatever_the_model_says(tmp_path, clean_catalog):
    for folder, level in (("one", 0.9), ("two", 0.1)):  # nothing passes in the second
        (tmp_path / folder).mkdir()
        grey = np.full((30, 60, 3), round(255 * level), np.uint8)
        for name in ("a.png", "b.png"):
            Image.fromarray(grey).save(tmp_path / folder / name)
    register_images("bars", str(tmp_path / "one"), "a; b")
    paths = sorted(tmp_path.glob("*/*.png"))
    rings = (((10, 5), (50, 5), (50, 25), (10, 25)), ((20, 10), (30, 10), (30, 20), (20, 20)))
    target = Target(
        "bars",
        tuple({"file_name": str(path)} for path in paths),
        Vocabulary.parse("a; b"),
        corrections=(Correction("a.png", rings, 1),),
    )
    cfg = tiny_cfg(
        SELF_TRAINING__REFINE__ENABLED=False,
        SELF_TRAINING__GATE__THRESH=0.8,
        SELF_TRAINING__LABEL_MAX_SIZE=20,  # a third of the image's
    )
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TEST", 0])
    labeler = build_dataset_labeler(cfg, target, Bars())
    region = np.zeros((30, 60), bool)
    region[5:25, 10:50], region[10:20, 20:30] = True, False
    for number in (1, 2):
        store = labeler.store(tmp_path / "labels", number, "weights")
        labeler.fill(store, Bars(), [])
        one_a, one_b, two_a, two_b = (store.read(k) for k in range(4))
        assert (one_b.label_map[:, :30] == 0).all() and (one_b.label_map[:, 30:] == -1).all()
        assert np.array_equal(one_a.label_map, np.where(region, 1, one_b.label_map))
        assert np.array_equal(two_a.label_map, np.where(region, 1, IGNORE_LABEL))
        assert (two_b.label_map == IGNORE_LABEL).all()
        remarks = [[record.remark for record in label.classes] for label in (one_a, one_b)]
        assert remarks == [["", "corrected by hand"], ["", ""]]
        assert store.classes_for_training() == [(0, 1), (0,), (1,)]


@pytest.mark.parametrize("changes", [{}, {"TEST__SLIDING_WINDOW__ENABLED": True}])
@pytest.mark.parametrize("dea", [True, False])
def test_an_embedding_is_handed_on_where_it_is_that_of_the_whole_image(tmp_path, dea, changes):
    register(tmp_path)
    model = STSeg(tiny_cfg(MODEL__STSEG__DEA__ENABLED=dea, **changes)).eval()
    image = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    words = Vocabulary.parse("a; b")
    item = {"image": image, "height": 64, "width": 64, "vocabulary": words}
    with torch.no_grad():
        probs, embedding = predict(model, item, 32)
        plain = model([{**item, "height": 32, "width": 32}])[0]["sem_seg"]
    assert torch.equal(probs, plain)
    assert (embedding is not None) == (dea and not changes)
    if embedding is not None:
        assert torch.equal(embedding, model.sam_encoder(image[None].float())["sam"])


@pytest.mark.parametrize(("source", "side"), [("model", 24), ("file", 60)])
def test_sam_sees_the_picture_that_is_asked_for(tmp_path, source, side):
    register(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    cfg = tiny_cfg(SELF_TRAINING__REFINE__IMAGE=source, SELF_TRAINING__GATE__THRESH=0.0)
    records = ({"file_name": str(tmp_path / "a.png")},)
    target = Target("target", records, Vocabulary.parse("a; b"), frozenset())
    labeler = build_dataset_labeler(cfg, target, Bars())
    seen = []
    labeler.labeler.sam.encoder.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    small = torch.from_numpy(pixels[::5, ::5].copy()).permute(2, 0, 1).repeat(1, 2, 2)
    item = {"image": small, "file_name": records[0]["file_name"], "height": 60, "width": 60}
    labeler.label(Bars(), item)
    ((image,),) = [seen]
    assert image.shape == (1, 3, side, side)
    wanted = small if source == "model" else torch.from_numpy(pixels).permute(2, 0, 1)
    assert torch.equal(image[0], wanted.float())


@LABELER_REGISTRY.register()
class HalfOfIt(Labeler):
    """Labels the left half of every picture as the first class."""

    def __init__(self, cfg, target, model):
        super().__init__(target.vocabulary.names, threshold=cfg.SELF_TRAINING.GATE.THRESH)

    def label(self, probs, image, embedding=None, thresholds=None):
        label = super().label(probs, image, embedding, thresholds)
        label.label_map[:] = IGNORE_LABEL
        label.label_map[:, : label.label_map.shape[1] // 2] = 0
        return label


def test_a_labeler_of_ones_own_is_chosen_by_its_name(folder_of, tmp_path):
    cfg = tiny_cfg(SELF_TRAINING__REFINE__ENABLED=False)
    usual = folder_of(cfg)
    cfg.SELF_TRAINING.LABELER = "HalfOfIt"
    assert folder_of(cfg) != usual  # its labels are others
    target = Target("target", (), Vocabulary.parse("a; b"))
    labeler = build_dataset_labeler(cfg, target, nn.Linear(1, 1))
    item = {"image": torch.zeros(3, 4, 6), "vocabulary": target.vocabulary, "height": 4, "width": 6}
    found = labeler.label(Scores(torch.rand(2, 4, 6)), item).label_map
    assert (found[:, :3] == 0).all() and (found[:, 3:] == IGNORE_LABEL).all()
    cfg.SELF_TRAINING.LABELER = "nobody"
    with pytest.raises(ValueError, match=r"LABELER: expected one of .*build_sam_labeler.*'nobody'"):
        build_dataset_labeler(cfg, target, nn.Linear(1, 1))


@pytest.mark.parametrize("tiles", [None, Tiles((16, 16), 0.5)])
def test_the_gate_goes_by_the_temperature_of_the_weights(tiles):
    torch.manual_seed(0)
    model = CaptionFake().eval()
    model.tiles = tiles
    words = Vocabulary.parse("sky; tree; cat")
    item = {"image": 255 * torch.rand(3, 24, 32), "vocabulary": words, "height": 24, "width": 32}
    target = Target("target", (), words)
    labeler = DatasetLabeler(target=target, labeler=Labeler(words.names), items=list)
    with torch.no_grad():
        (plain,) = model([item])
        before = labeler.label(model, item)
        model.facts = WeightFacts(temperature=3.0)
        after = labeler.label(model, item)
    best = plain["sem_seg"].amax(0)
    assert best.max() > 0.9
    assert (before.label_map != IGNORE_LABEL).any()
    assert (after.label_map == IGNORE_LABEL).all()  # nothing passes any more
    sure = torch.sigmoid(torch.logit(best) / 3)
    scores = {record.class_id: record.score for record in after.classes}
    assert max(scores.values()) == pytest.approx(float(sure.max()), abs=1e-5)
    assert np.array_equal(before.initial, after.initial)
