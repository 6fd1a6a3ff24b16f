"""Config keys of self-training: `SELF_TRAINING.*` (paper, section 2.3 and eq. 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.rules import (
    FINITE,
    FROM_1,
    NOT_NEGATIVE,
    PERCENT,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_0,
    SHARE_BELOW_1,
    WHOLE,
    WHOLE_FROM_1,
    Rule,
    one_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

#: Name under which the folder of SELF_TRAINING.IMAGES is registered.
IMAGES_NAME = "images"

SCORINGS = ("won", "max", "mean")
PROMPT_KINDS = ("mask", "box", "points", "parts")
FRAMES = ("stretched", "padded")
IMAGES = ("model", "file")
#: The labeler that reads SELF_TRAINING.VLM.
VISION_LANGUAGE = "VisionLanguageLabeler"
PROPOSALS = ("model", "sam")

_PROMPTS = Rule(
    "at least one of mask, box and points, and optionally parts",
    lambda kinds: set(kinds) <= set(PROMPT_KINDS) and bool(set(kinds) - {"parts"}),
)

RULES = {
    "SELF_TRAINING.ALPHA": SHARE,
    "SELF_TRAINING.ROUNDS": NOT_NEGATIVE,
    "SELF_TRAINING.ROUND_ITERS": POSITIVE,
    "SELF_TRAINING.ROUND_WARMUP": SHARE_BELOW_1,
    "SELF_TRAINING.SAM_CACHE_GIB": NOT_NEGATIVE,
    "SELF_TRAINING.LABEL_MAX_SIZE": POSITIVE,
    "SELF_TRAINING.PREVIEW": NOT_NEGATIVE,
    "SELF_TRAINING.TEMPLATES.TOP": WHOLE,
    "SELF_TRAINING.GATE.THRESH": SHARE,
    "SELF_TRAINING.GATE.MIN_PIXEL": SHARE,
    "SELF_TRAINING.GATE.QUANTILE": SHARE_BELOW_1,
    "SELF_TRAINING.GATE.SCORING": one_of(SCORINGS),
    "SELF_TRAINING.REFINE.FRAME": one_of(FRAMES),
    "SELF_TRAINING.REFINE.IMAGE": one_of(IMAGES),
    "SELF_TRAINING.REFINE.PROMPTS": _PROMPTS,
    "SELF_TRAINING.REFINE.BATCH_SIZE": NOT_NEGATIVE,
    "SELF_TRAINING.REFINE.MIN_IOU": SHARE,
    "SELF_TRAINING.REFINE.REGION_VOTE.PURITY": SHARE_ABOVE_0,
    "SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE": FROM_1,
    "SELF_TRAINING.VLM.PROPOSALS": one_of(PROPOSALS),
    "SELF_TRAINING.VLM.MIN_VOID": SHARE,
    "SELF_TRAINING.VLM.MIN_PIXELS": WHOLE_FROM_1,
    "SELF_TRAINING.VLM.MIN_PRESENCE": SHARE,
    "SELF_TRAINING.VLM.MAX_CANDIDATES": WHOLE_FROM_1,
    "SELF_TRAINING.VLM.MIN_PROB": SHARE,
    "SELF_TRAINING.VLM.MIN_MARGIN": SHARE,
    "SELF_TRAINING.VLM.KEEP": SHARE_ABOVE_0,
    "SELF_TRAINING.VLM.BATCH_SIZE": WHOLE_FROM_1,
    "SELF_TRAINING.SOURCE.FRACTION": SHARE_BELOW_1,
    "SELF_TRAINING.GUARD.IMAGES": POSITIVE,
    "SELF_TRAINING.GUARD.SURE_THRESH": SHARE,
    "SELF_TRAINING.GUARD.MIN_SURE": SHARE,
    "SELF_TRAINING.GUARD.MIN_AGREEMENT": SHARE,
    "SELF_TRAINING.GUARD.MIN_CLASS_AGREEMENT": SHARE,
    "SELF_TRAINING.GUARD.MAX_DRIFT": SHARE,
    "SELF_TRAINING.GUARD.MIN_AREA": SHARE,
    "SELF_TRAINING.GUARD.MIN_KEPT": SHARE,
    "SELF_TRAINING.GUARD.MAX_ENTROPY_RISE": SHARE,
    "SELF_TRAINING.GUARD.MAX_STABILITY_DROP": SHARE,
    "SELF_TRAINING.GUARD.MAX_SOURCE_DROP": PERCENT,
    "SELF_TRAINING.GUARD.MIN_CHANGE": SHARE,
    "SELF_TRAINING.GUARD.MAX_EXPLAINED_DROP": SHARE,
    "SELF_TRAINING.GUARD.MIN_SCORE": FINITE,
    "SELF_TRAINING.GUARD.NOISE": NOT_NEGATIVE,
}


def check_ignored(cfg: CfgNode) -> None:
    """Refuse rounds of self-training that would train what has no pseudo-label as "no class".

    Raises:
        ValueError: names the key.
    """
    st, ignored = cfg.SELF_TRAINING, cfg.MODEL.LOSS.IGNORED
    if st.ENABLED and st.ROUNDS > 0 and ignored == "negative":
        raise ValueError(
            "MODEL.LOSS.IGNORED: expected 'masked' with SELF_TRAINING.ROUNDS above 0, got "
            f"{ignored!r}: pixels that no pseudo-label covers would be trained as none of the "
            "classes, and a class that fails the gate would be trained away. Set "
            "MODEL.LOSS.IGNORED masked."
        )


def check_warm_up(cfg: CfgNode) -> None:
    """Refuse the warm-up of one schedule where every round has its own.

    Raises:
        ValueError: names the key.
    """
    st, iters = cfg.SELF_TRAINING, cfg.SOLVER.WARMUP_ITERS
    if st.ENABLED and st.ROUNDS > 0 and iters > 0:
        raise ValueError(
            f"SOLVER.WARMUP_ITERS: expected 0 with SELF_TRAINING.ROUNDS above 0, got {iters}. "
            "Every round warms up by itself, in SELF_TRAINING.ROUND_WARMUP of its iterations."
        )


def check_refined_image(cfg: CfgNode) -> None:
    """Refuse files as what SAM sees of crops that are in none.

    Raises:
        ValueError: names the key.
    """
    st = cfg.SELF_TRAINING
    if st.ENABLED and st.ONLINE and st.REFINE.ENABLED and st.REFINE.IMAGE == "file":
        raise ValueError(
            "SELF_TRAINING.REFINE.IMAGE: expected 'model' with SELF_TRAINING.ONLINE, whose crops "
            "are in no file, got 'file'. Set it to model, or ONLINE False."
        )


def check_vision_language(cfg: CfgNode) -> None:
    """Refuse labels of batches from a labeler whose ground truth lies in whole images.

    Raises:
        ValueError: names the key.
    """
    st = cfg.SELF_TRAINING
    if st.ENABLED and st.ONLINE and st.LABELER == VISION_LANGUAGE:
        raise ValueError(
            f"SELF_TRAINING.ONLINE: expected False with SELF_TRAINING.LABELER {VISION_LANGUAGE!r}, "
            "which names regions of whole images, got True. Set it to False."
        )


def needs_sam(cfg: CfgNode) -> bool:
    """Whether the labeler that is chosen asks SAM."""
    st = cfg.SELF_TRAINING
    if st.LABELER == VISION_LANGUAGE:
        return st.VLM.PROPOSALS == "sam"
    return st.REFINE.ENABLED


def trusted_labels(cfg: CfgNode) -> tuple[str, ...]:
    """Names of data sets whose labels the labeler that is chosen reads."""
    st = cfg.SELF_TRAINING
    reads = st.ENABLED and st.LABELER == VISION_LANGUAGE and st.VLM.GROUND_TRUTH
    return (st.VLM.GROUND_TRUTH,) if reads else ()


def add_self_training_config(cfg: CfgNode) -> None:
    """Add `SELF_TRAINING.*` to a Detectron2 config, in place."""
    CN = type(cfg)
    cfg.SELF_TRAINING = CN()
    # Stage 2: classes are weighted as in eq. 6, and labels are pseudo-labels made in rounds. With
    # DEA.ENABLED this is the other switch of the ablation.
    cfg.SELF_TRAINING.ENABLED = False
    # Weight of classes seen in stage 1, in [0, 1]; unseen ones get 1 - ALPHA (paper: 0.3).
    cfg.SELF_TRAINING.ALPHA = 0.3
    # What stage 1 had masks of: a registered data set, a list that ships ("vocab:coco_stuff_171")
    # or a names file. "" takes the marks of the target data set's own vocabulary, or without any
    # the names that MODEL.WEIGHTS say they learnt. Which names are the same thing:
    # stseg/data/datasets/class_matching.py; a run logs a table, and keeps self_training/seen.json.
    cfg.SELF_TRAINING.SOURCE_VOCABULARY = ""
    # Rounds; 0 trains on the data set's own labels, with the weights of eq. 6 only.
    cfg.SELF_TRAINING.ROUNDS = 3
    # Iterations per round. SOLVER.MAX_ITER becomes ROUNDS x ROUND_ITERS; rounds that are tried once
    # more, since the guard found them harmful, come on top.
    cfg.SELF_TRAINING.ROUND_ITERS = 2000
    # Share of a round in which the learning rate rises (from SOLVER.WARMUP_FACTOR of it, by
    # SOLVER.WARMUP_METHOD), in [0, 1); the schedule of SOLVER begins anew in every round.
    cfg.SELF_TRAINING.ROUND_WARMUP = 0.1
    # Folder of images without labels, or a video (--images), and the names to look for
    # (--vocabulary: file or text). When set they are the training data instead of DATASETS.TRAIN.
    cfg.SELF_TRAINING.IMAGES = ""
    cfg.SELF_TRAINING.VOCABULARY = ""
    # Longest side in pixels at which pseudo-labels are made; larger images are labelled smaller
    # and the label is enlarged. Bounds the memory of classes x pixels.
    cfg.SELF_TRAINING.LABEL_MAX_SIZE = 1024
    # Folder of SAM's embeddings of target images (~ and $VARIABLES are expanded), "" for none. They
    # are the same in every round: with it a round, the guard and a resumed run read them (tens of
    # milliseconds per image) instead of computing them; labels stay the same. Per image 4 MiB at
    # MODEL.SAM.INPUT_SIZE 1024, 2.25 MiB at 768; twice that with REFINE.FRAME "padded" and DEA, and
    # for the guard's images, whose mirrored copies are kept; with windows as much per window. Runs
    # may share it. ~ and $VARIABLES are expanded; delete the folder when the rounds are over.
    cfg.SELF_TRAINING.SAM_CACHE_DIR = ""
    # Most that it may hold, GiB, 0 = no limit: above it what was unused for longest gives way, but
    # nothing of this run, which then computes the rest in every round.
    cfg.SELF_TRAINING.SAM_CACHE_GIB = 0.0
    # File with classes and images that never become pseudo-labels, and regions of images whose
    # class a person gives for every round, "" for none. The preview page composes it, and shows its
    # form. Regions make all labels anew, and are refused with ONLINE.
    cfg.SELF_TRAINING.VETO_FILE = ""
    # Images shown on the page that is written after every round; 0 = no page.
    cfg.SELF_TRAINING.PREVIEW = 12
    # Show images with rare classes more often (repeat factors of LVIS, over pseudo-labels).
    cfg.SELF_TRAINING.BALANCED_SAMPLING = False
    # Label every batch anew with the current (or averaged) weights instead of once per round.
    cfg.SELF_TRAINING.ONLINE = False
    cfg.SELF_TRAINING.TEMPLATES = CN()
    # Templates that each class keeps, chosen once before round 1 on all target images: those by
    # which the cosines of image and words are surest of it (FLOSS, ICCV 2025, which takes 4 of
    # 80); 0 = all, no choice. The labels, the training, the guard and what comes of the run go by
    # them, but for the guard's look at the start, a start that is put back, and --preview, which
    # have all. Costs a pass of the encoders. What it brings: projects/STSeg/README.md.
    cfg.SELF_TRAINING.TEMPLATES.TOP = 0
    _add_labelling(cfg.SELF_TRAINING)
    _add_vision_language(cfg.SELF_TRAINING)
    _add_source(cfg.SELF_TRAINING)
    _add_guard(cfg.SELF_TRAINING)


def _add_labelling(cfg: CfgNode) -> None:
    CN = type(cfg)
    # What makes pseudo-labels, in LABELER_REGISTRY: "build_sam_labeler", which reads GATE and
    # REFINE, or "VisionLanguageLabeler", which reads VLM, and of REFINE how SAM finds regions.
    cfg.LABELER = "build_sam_labeler"
    cfg.GATE = CN()
    # Least confidence of a class to become a prompt, in [0, 1] (paper: 0.9).
    cfg.GATE.THRESH = 0.9
    # Confidence of a class in an image: its highest probability over the pixels that it wins
    # ("won"), over those of other classes, too ("max"), or its mean over those it wins ("mean").
    cfg.GATE.SCORING = "won"
    # Least probability of a pixel of an accepted class to be shown to SAM, or labelled without it,
    # in [0, 1]; a class whose threshold is lower has that. 0 takes all that it wins, as the
    # paper does. In the small world 26 % of the pixels below 0.5 are right, 75 % of the others.
    cfg.GATE.MIN_PIXEL = 0.5
    # Above 0: a class may pass at this quantile of its own scores over all images, if that is
    # lower than THRESH, in [0, 1). Rare and hard classes get a voice. Costs one more prediction
    # of every image.
    cfg.GATE.QUANTILE = 0.0

    cfg.REFINE = CN()
    # Refine masks with SAM. Off: the gated masks of the main branch are the pseudo-labels.
    cfg.REFINE.ENABLED = True
    # Prompts that SAM gets, out of mask, box, points and parts. ["mask"] is the paper to the
    # letter; "parts" prompts every connected part of a class by itself and joins the results.
    cfg.REFINE.PROMPTS = ["parts", "mask", "box", "points"]
    # A refined part that overlaps its initial mask less than this (IoU in [0, 1]) is not believed
    # and keeps the initial mask; 0 believes all, as the paper does.
    cfg.REFINE.MIN_IOU = 0.3
    # How the image lies in SAM's square: "stretched", as DEA sees it, whose embedding is then
    # used; "padded", as SAM was trained, at the price of an embedding of its own.
    cfg.REFINE.FRAME = "stretched"
    # Which picture SAM sees: "model", what the main branch was given, with DEA its squashed one,
    # whose embedding is then used; "file", the file's own pixels, at the price of an embedding of
    # its own.
    cfg.REFINE.IMAGE = "model"
    # Prompts per pass of SAM's decoder; 0 = what suits the device (1 on the CPU, 16 elsewhere).
    cfg.REFINE.BATCH_SIZE = 0
    cfg.REFINE.REGION_VOTE = CN()
    # Instead of prompting by class: SAM cuts the image into regions, and each gets the class that
    # most of its pixels have.
    cfg.REFINE.REGION_VOTE.ENABLED = False
    # Least share of a region's pixels that its class must have, in (0, 1]; else it is ignored.
    cfg.REFINE.REGION_VOTE.PURITY = 0.8
    # Points per side of the grid that prompts SAM.
    cfg.REFINE.REGION_VOTE.POINTS_PER_SIDE = 16


def _add_vision_language(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.VLM = CN()
    # Regions that CLIP names: "model", the connected parts of the model's best class; "sam", SAM's
    # own, from the grid of REFINE.REGION_VOTE.POINTS_PER_SIDE.
    cfg.VLM.PROPOSALS = "model"
    # A registered data set whose labels are trusted, "" for none: where it has a label that is what
    # is trained on, and only its void is named. Its images are found by path, those it lacks are
    # all void. A pixel of an unseen class in it ends the run before any training.
    cfg.VLM.GROUND_TRUTH = ""
    # Least share of a region that is void, in [0, 1], and least pixels of that void part at the
    # size at which labels are made.
    cfg.VLM.MIN_VOID = 0.5
    cfg.VLM.MIN_PIXELS = 256
    # Names that a picture may have: unseen ones that CLIP gives at least this probability among all
    # names, in the whole picture or one of five crops, in [0, 1]; and at most so many of them.
    cfg.VLM.MIN_PRESENCE = 0.05
    cfg.VLM.MAX_CANDIDATES = 5
    # A region takes the best of these names if its probability among them and all seen names is at
    # least this, and as much above the second, both in [0, 1].
    cfg.VLM.MIN_PROB = 0.5
    cfg.VLM.MIN_MARGIN = 0.1
    # Least share of the regions of each class, over all images, that is kept, the best scored, in
    # (0, 1]. Below 1 all images are looked at twice.
    cfg.VLM.KEEP = 0.75
    # A named region's labels count in training as much as the region scores, in [0, 1] (ours); off:
    # as much as the trusted ones.
    cfg.VLM.WEIGHTED = True
    # Crops per pass of CLIP.
    cfg.VLM.BATCH_SIZE = 32


def _add_source(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.SOURCE = CN()
    # Labelled data sets of stage 1. Mixed into the batches, and the guard measures on them what
    # is forgotten.
    cfg.SOURCE.DATASETS = ()
    # Share of every batch that comes from them, in [0, 1).
    cfg.SOURCE.FRACTION = 0.0


def _add_guard(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.GUARD = CN()
    # Judge every round without labels, undo one that harms and try it once more at a third of the
    # rate, and say at the end whether anything was gained.
    cfg.GUARD.ENABLED = True
    # Images on which rounds are judged, drawn by SEED; where there are at least five times as many
    # they are not trained on. And as many of the source.
    cfg.GUARD.IMAGES = 32
    # Confidence from which the starting model counts as sure of a pixel, in [0, 1]; and the least
    # share of such pixels for agreement to be judged, in [0, 1].
    cfg.GUARD.SURE_THRESH = 0.9
    cfg.GUARD.MIN_SURE = 0.001
    # Least share of those pixels that must keep their class, in [0, 1]; and the same for every
    # single class that has MIN_AREA of them.
    cfg.GUARD.MIN_AGREEMENT = 0.8
    cfg.GUARD.MIN_CLASS_AGREEMENT = 0.3
    # Largest move of area between classes (total variation of the class histogram), in [0, 1].
    cfg.GUARD.MAX_DRIFT = 0.3
    # A class of at least this share of the area at the start must keep this part of it, in [0, 1].
    cfg.GUARD.MIN_AREA = 0.005
    cfg.GUARD.MIN_KEPT = 0.25
    # Largest rise of the mean normalised entropy, and largest loss of pixels that keep their class
    # on mirrored copies, both in [0, 1].
    cfg.GUARD.MAX_ENTROPY_RISE = 0.05
    cfg.GUARD.MAX_STABILITY_DROP = 0.05
    # Largest loss of mIoU on the source sets, in points, [0, 100].
    cfg.GUARD.MAX_SOURCE_DROP = 2.0
    # Largest loss of what the labels explain of the starting model's dense features, as a part of
    # what they explained at the start, in [0, 1].
    cfg.GUARD.MAX_EXPLAINED_DROP = 0.06
    # To count as adapted: least share of pixels with another class than at the start, in [0, 1],
    # and least score, a number: relative change of what labels explain plus that of what a pixel
    # knows of its class.
    cfg.GUARD.MIN_CHANGE = 0.01
    cfg.GUARD.MIN_SCORE = -0.03
    # Differences of the score that say nothing, 0 or more: of rounds within it the later is kept.
    cfg.GUARD.NOISE = 0.04
