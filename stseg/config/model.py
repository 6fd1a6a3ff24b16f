"""Keys shared by the systems, and STSeg's own. Suffixes: see each comment; sizes are pixels (H, W).

Every key is read by one owner only: the `from_config` or `build_*` of the part it names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.rules import (
    FROM_1,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_BELOW_1,
    SIZE,
    WHOLE,
    WHOLE_FROM_1,
    Rule,
    each,
    one_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

DTYPES = ("fp32", "bf16", "fp16")
FINETUNE_MODES = ("full", "none")
SYNONYM_RULES = ("max", "mean", "first", "verbatim")
ATTENTION_KINDS = ("linear", "softmax")
DEA_INITS = ("identity", "xavier")
LOSS_KINDS = ("bce", "softmax")
IGNORED_KINDS = ("negative", "masked")

#: Read in older configs, and left out: P is the number of MODEL.TEXT.TEMPLATES.
_GONE = "MODEL.SEM_SEG_HEAD.NUM_PROMPTS"

RULES = {
    "MODEL.DTYPE": one_of(DTYPES, "fp32 is exact, bf16 rounds and asks for no special care."),
    "MODEL.CLIP.FINETUNE": one_of(FINETUNE_MODES),
    "MODEL.CLIP.DROP_PATH": SHARE_BELOW_1,
    "MODEL.TEXT.SYNONYMS": one_of(SYNONYM_RULES),
    "MODEL.TEXT.CHUNK_SIZE": FROM_1,
    "MODEL.TEXT.DTYPE": one_of(DTYPES),
    "MODEL.TEXT.CACHE_GIB": NOT_NEGATIVE,
    "MODEL.SAM.INPUT_SIZE": FROM_1,
    "MODEL.TEXT.TEMPLATES": Rule(
        "texts, at least one", lambda texts: texts and all(isinstance(t, str) and t for t in texts)
    ),
    "MODEL.SEM_SEG_HEAD.HIDDEN_DIM": WHOLE_FROM_1,
    "MODEL.SEM_SEG_HEAD.DECODER_DIMS": each(
        WHOLE_FROM_1,
        "three multiples of 16",
        3,
        lambda dims: not any(dim % 16 for dim in dims),
    ),
    "MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS": each(WHOLE_FROM_1, "three whole numbers from 1", 3),
    "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_DIMS": each(WHOLE, "three whole numbers from 0", 3),
    "MODEL.SEM_SEG_HEAD.NUM_HEADS": WHOLE_FROM_1,
    "MODEL.SEM_SEG_HEAD.KERNEL_SIZE": Rule("an odd number of cells", lambda k: k > 0 and k % 2),
    "MODEL.SEM_SEG_HEAD.ATTENTION": one_of(ATTENTION_KINDS),
    "MODEL.SEM_SEG_HEAD.POOLING_SIZE_TRAIN": FROM_1,
    "MODEL.SEM_SEG_HEAD.POOLING_SIZE_TEST": FROM_1,
    "MODEL.SEM_SEG_HEAD.REJECTION_TOPK": NOT_NEGATIVE,
    "MODEL.SEM_SEG_HEAD.CHUNK_SIZE": NOT_NEGATIVE,
    "MODEL.SEM_SEG_HEAD.KEPT_MIB": NOT_NEGATIVE,
    "MODEL.SEM_SEG_HEAD.TEMPLATE_RANK": NOT_NEGATIVE,
    "MODEL.SEM_SEG_HEAD.PRIOR_PROB": SHARE_BELOW_1,
    "MODEL.LOSS.KIND": one_of(LOSS_KINDS),
    "MODEL.LOSS.IGNORED": one_of(IGNORED_KINDS),
    "MODEL.STSEG.IMAGE_SIZE": SIZE,
    "MODEL.STSEG.IMAGE_SIZE_TEST": Rule(
        f"{SIZE.text}, or []", lambda size: not len(size) or SIZE.is_good(size)
    ),
    "MODEL.STSEG.DEA.NUM_HEADS": WHOLE_FROM_1,
    "MODEL.STSEG.DEA.FFN_RATIO": POSITIVE,
    "MODEL.STSEG.DEA.INIT": one_of(DEA_INITS),
    "MODEL.STSEG.DEA.PULL_WEIGHT": NOT_NEGATIVE,
    "MODEL.STSEG.ENSEMBLE.ALPHA": SHARE_BELOW_1,
    "MODEL.STSEG.ENSEMBLE.BETA": SHARE_BELOW_1,
    "TEST.SLIDING_WINDOW.SIZE": SIZE,
    "TEST.SLIDING_WINDOW.OVERLAP": SHARE_BELOW_1,
}


def has_clip_beside(cfg: CfgNode) -> bool:
    """Whether a tower as MODEL.CLIP.PRETRAINED has it answers beside one that learns."""
    ensemble = cfg.MODEL.STSEG.ENSEMBLE
    return cfg.MODEL.CLIP.FINETUNE == "full" and (ensemble.ALPHA > 0 or ensemble.BETA > 0)


def add_model_config(cfg: CfgNode) -> None:
    """Add `MODEL.*` and `TEST.SLIDING_WINDOW.*` to a Detectron2 config."""
    # The system: "STSeg", "EBSeg", "CEL", "PGSeg", or one registered elsewhere.
    cfg.MODEL.META_ARCHITECTURE = "STSeg"
    # Detectron2's: a checkpoint of ours or of SED's, read as data only. It must fit the model as
    # configured, tensor by tensor. Training may start with "" (CLIP's and SAM's own weights, a
    # decoder that has learnt nothing); evaluation, prediction and adaptation need a file, or
    # "random", which says that nothing learnt is meant.
    cfg.MODEL.WEIGHTS = ""
    # Training alone may start from a file that fits in part: what the model lacks is left out, what
    # the file lacks, or has in another shape, keeps its start values. Both are logged.
    cfg.MODEL.PARTIAL_WEIGHTS_ENABLED = False
    _add_encoders(cfg)
    _add_head(cfg)
    _add_stseg(cfg)
    _add_test(cfg)


def _add_encoders(cfg: CfgNode) -> None:
    CN = type(cfg)
    # What evaluation computes in, whatever SOLVER.AMP says of training: "fp32", or "bf16" or "fp16"
    # (autocast; the CPU takes bf16 for it). Faster on a GPU or a CPU with matrix units, slower
    # without; probabilities are rounded: projects/STSeg/README.md, "Approximations".
    cfg.MODEL.DTYPE = "fp32"

    cfg.MODEL.CLIP = CN()
    # Architecture, by its open_clip name: convnext_base_w_320, convnext_large_d_320, ViT-B-16 or
    # another (projects/STSeg/README.md, "Towers"), or convnext_mini or vit_mini of this project.
    cfg.MODEL.CLIP.NAME = "convnext_base_w_320"
    # Weights: a tag of open_clip (fetched from its hub), a local file, stseg:// or
    # weights://NAME; "random" for random ones, in trials.
    cfg.MODEL.CLIP.PRETRAINED = "laion_aesthetic_s13b_b82k"
    # What trains: "full" (the image tower, as published) or "none". The text tower never does.
    cfg.MODEL.CLIP.FINETUNE = "full"
    # Stochastic depth of a ConvNeXt tower in training, [0, 1). SED: 0 for base, 0.1 for large.
    cfg.MODEL.CLIP.DROP_PATH = 0.0
    # Recompute the tower's blocks in the backward pass: less memory, about a third more time.
    cfg.MODEL.CLIP.GRADIENT_CHECKPOINTING = False

    cfg.MODEL.TEXT = CN()
    # Prompts that every name is put into: sets that ship, "imagenet_80" (the 80 of CLIP's ImageNet
    # protocol, as published), "vild_14" (EBSeg) and "single", or texts with one {} for the name.
    cfg.MODEL.TEXT.TEMPLATES = ["imagenet_80"]
    # Several names of a class: "max" scores each and takes the best; "mean" averages their
    # embeddings, which is what SED's published figures were made with; "first" asks for the first
    # alone (CAT-Seg), "verbatim" for all in one text, with commas (EBSeg).
    cfg.MODEL.TEXT.SYNONYMS = "max"
    # Prompts per forward pass of the text tower.
    cfg.MODEL.TEXT.CHUNK_SIZE = 512
    # What the text tower computes in: "fp32", or "bf16" or "fp16" for speed on a GPU or a CPU with
    # matrix units; without such units these are slower. Embeddings differ by about 1 %.
    cfg.MODEL.TEXT.DTYPE = "fp32"
    # Folder of text embeddings kept between runs, a file of about 0.2 MB per name and set of
    # templates, "" for none. ~ and $VARIABLES are expanded; $STSEG_CACHE is ~/.cache/stseg where
    # it is not set.
    cfg.MODEL.TEXT.CACHE_DIR = "$STSEG_CACHE/text"
    # Most that it may hold, GiB, 0 = no limit: above it what was unused for longest gives way.
    cfg.MODEL.TEXT.CACHE_GIB = 10.0

    cfg.MODEL.SAM = CN()
    # SAM for DEA and self-training: "vit_b", "vit_l", "vit_h", or "mini" for drawn scenes.
    cfg.MODEL.SAM.NAME = "vit_b"
    # The .pth file of that model, local, stseg:// or weights://NAME. Needed wherever SAM takes
    # part; "random" for random weights, in trials.
    cfg.MODEL.SAM.CHECKPOINT = ""
    # Side of the square image SAM sees, a multiple of its patch of 16 pixels: 1024 (as trained) or
    # 768 (the paper's crop; positions are interpolated). "mini": patches of 8, trained at 128.
    cfg.MODEL.SAM.INPUT_SIZE = 1024


def _add_head(cfg: CfgNode) -> None:
    CN = type(cfg)
    head = cfg.MODEL.SEM_SEG_HEAD
    # A head registered in SEM_SEG_HEADS_REGISTRY.
    head.NAME = "CostAwareDecoder"
    if _GONE not in cfg.__dict__[CN.DEPRECATED_KEYS]:
        cfg.register_deprecated_key(_GONE)
    # Channels of the embedded cost volume (SED: 128).
    head.HIDDEN_DIM = 128
    # Channels after each of the three stages, multiples of 16 (SED: 64, 32, 16).
    head.DECODER_DIMS = [64, 32, 16]
    # Channels of image guidance and of score guidance at each stage (SED: 32, 16, 8).
    head.GUIDANCE_DIMS = [32, 16, 8]
    # Channels of text guidance at each stage; 0 = off (SED's published models).
    head.TEXT_GUIDANCE_DIMS = [0, 0, 0]
    # Heads of the class attention.
    head.NUM_HEADS = 4
    # Width of the depthwise kernels in cells (SED: 9).
    head.KERNEL_SIZE = 9
    # Class attention: "linear" (SED) or "softmax".
    head.ATTENTION = "linear"
    # Average pooling before class attention, in cells: 2 in training and 1 in evaluation, as in
    # SED's scripts (there the evaluation value stands in a shell script).
    head.POOLING_SIZE_TRAIN = 2
    head.POOLING_SIZE_TEST = 1
    # Category early rejection in evaluation: classes kept per cell and stage, 0 = keep all.
    head.REJECTION_TOPK = 0
    # Classes decoded at a time in evaluation; 0 = by device, so that they stay in a CPU's cache or
    # fill a GPU.
    head.CHUNK_SIZE = 0
    # MiB that evaluation keeps of all classes between passes of class attention (1.2 MiB a class
    # at 768 pixels); what does not fit is computed again: less memory, more time.
    head.KEPT_MIB = 1024
    # An approximation in evaluation: channels that stand in for the P templates of each class,
    # 1 to P; 0 = exact. What it costs on trained models: projects/STSeg/README.md,
    # "Approximations".
    head.TEMPLATE_RANK = 0
    # Recompute the stages in the backward pass: much less memory at many classes, more time.
    head.GRADIENT_CHECKPOINTING = False
    # Probability that an untrained decoder gives every class, in (0, 1) (focal loss, Lin et al.,
    # ICCV 2017, section 3.3); 0 = PyTorch's start, near 0.5, as published. With many classes and
    # few iterations a start at 0.5 spends the first steps on pushing everything down, and the last
    # ReLU may be left unable to say yes.
    head.PRIOR_PROB = 0.0

    cfg.MODEL.LOSS = CN()
    # "bce": binary cross entropy per class and pixel (SED). "softmax": cross entropy over classes
    # (eq. 6 read literally); then the confidences of a pixel are 1 together, too.
    cfg.MODEL.LOSS.KIND = "bce"
    # Unlabelled pixels under "bce", and under EBSeg's losses: "negative" = of no class, as SED and
    # EBSeg are trained; "masked" = left out, the rule of stage 2: rounds of self-training refuse
    # "negative", which would train away every class that fails the gate.
    cfg.MODEL.LOSS.IGNORED = "negative"


def _add_stseg(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.MODEL.STSEG = CN()
    # Working size of the network, pixels (H, W): every image is resized to it whole (paper: 768).
    cfg.MODEL.STSEG.IMAGE_SIZE = [768, 768]
    # The same in evaluation and for pseudo-labels; [] = IMAGE_SIZE. Training with crops of larger
    # images costs less, and shows small things as large as they are here.
    cfg.MODEL.STSEG.IMAGE_SIZE_TEST = []
    # Keep the decoder's gradient out of the stage maps that guide it, as SED does to spare a
    # pretrained tower. A tower that starts from random weights learns faster with it.
    cfg.MODEL.STSEG.GUIDANCE_DETACHED = True
    cfg.MODEL.STSEG.DEA = CN()
    # Fuse CLIP and SAM features (paper, section 2.1). Off: the SED baseline, and no SAM at all.
    cfg.MODEL.STSEG.DEA.ENABLED = True
    # Attention heads, a divisor of the embedding width; 1 is eq. 1-4 to the letter.
    cfg.MODEL.STSEG.DEA.NUM_HEADS = 8
    # Hidden width of the feed-forward part, in embedding widths.
    cfg.MODEL.STSEG.DEA.FFN_RATIO = 4
    # Start: "identity" keeps CLIP's alignment with text at step 0, "xavier" is plainly random.
    cfg.MODEL.STSEG.DEA.INIT = "identity"
    # Add DEA's direction to CLIP's, times a scalar that starts at 0, instead of putting it in its
    # place. The scalar "dea.gate" moves by about its learning rate a step: what trains for some
    # hundred iterations should raise it by SOLVER.LR_MULTIPLIERS.
    cfg.MODEL.STSEG.DEA.GATE_ENABLED = False
    # Add SAM's features to the stage maps res4 and res3 that guide the decoder, too, by projections
    # that start at 0 (paper: "multi-scale features of both encoders").
    cfg.MODEL.STSEG.DEA.GUIDANCE_ENABLED = False
    # Average all of SAM's cells under one of CLIP's, where there are more of SAM's; else four of
    # them are read: at 768 pixels 24 x 24 cells stand for 64 x 64 of SAM's. Off: as weights of
    # before this key were trained.
    cfg.MODEL.STSEG.DEA.ANTIALIAS_ENABLED = False
    # Weight of a loss that pulls DEA's output towards CLIP's: the mean over cells of
    # 1 - cos(F_cv, F_c); 0 = none.
    cfg.MODEL.STSEG.DEA.PULL_WEIGHT = 0.0
    # The control of an ablation: zeros in the place of SAM's features, so that what DEA gains then
    # is the gain of more weights, and not of SAM. Of no use elsewhere.
    cfg.MODEL.STSEG.DEA.SAM_ZEROED = False
    cfg.MODEL.STSEG.ENSEMBLE = CN()
    # Weights in [0, 1) of CLIP's own answer in evaluation (FC-CLIP's geometric ensemble: 0.4 and
    # 0.8): ALPHA for classes that had masks in training, BETA for all others, of which a decoder
    # that was trained with few classes knows little. Which are which the weights say, or the marks
    # of a data set. 0 and 0 = the decoder alone, as published. CLIP is as MODEL.CLIP.PRETRAINED has
    # it: where the image tower learns, a second one that does not looks at every image.
    cfg.MODEL.STSEG.ENSEMBLE.ALPHA = 0.0
    cfg.MODEL.STSEG.ENSEMBLE.BETA = 0.0


def _add_test(cfg: CfgNode) -> None:
    CN = type(cfg)
    cfg.TEST.SLIDING_WINDOW = CN()
    # Evaluate by overlapping windows instead of the whole image resized to IMAGE_SIZE.
    cfg.TEST.SLIDING_WINDOW.ENABLED = False
    # Window in pixels (H, W) of the image as the test loader gives it (INPUT.MIN_SIZE_TEST).
    cfg.TEST.SLIDING_WINDOW.SIZE = [384, 384]
    # Share of a window that the next one covers again, [0, 1) (CAT-Seg: 1/3).
    cfg.TEST.SLIDING_WINDOW.OVERLAP = 0.333
    # Average the windows' result with that of the whole image (CAT-Seg does).
    cfg.TEST.SLIDING_WINDOW.WHOLE_IMAGE_ENABLED = True
