"""Config keys of training and evaluation: optimizer, schedule, precision, EMA, logging.

Defaults are those of SED's released configs, which the paper keeps. Keys that Detectron2
already has are listed only where the default differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.rules import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_1,
    WHOLE,
    WHOLE_FROM_1,
    Rule,
    each,
    one_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode

AMP_DTYPES = ("bf16", "fp16")
CLIP_TYPES = ("full_model", "norm", "value")
LR_SCHEDULERS = ("WarmupCosineLR", "WarmupPolyLR", "WarmupMultiStepLR")
MATMUL_PRECISIONS = ("highest", "high", "medium")

RULES = {
    "SOLVER.BASE_LR": POSITIVE,
    "SOLVER.MAX_ITER": POSITIVE,
    "SOLVER.IMS_PER_BATCH": POSITIVE,
    "SOLVER.ACCUMULATE_STEPS": POSITIVE,
    "SOLVER.CHECKPOINT_PERIOD": POSITIVE,
    "SOLVER.CHECKPOINTS_KEPT": NOT_NEGATIVE,
    "SOLVER.LOG_PERIOD": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of(CLIP_TYPES),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule("a number above 0, or inf", lambda value: value > 0),
    "SOLVER.BASE_LR_END": NOT_NEGATIVE,
    "SOLVER.LR_MULTIPLIERS": Rule(
        "a list of [name, factor from 0]",
        lambda pairs: all(
            isinstance(name, str) and NOT_NEGATIVE.is_good(float(factor)) for name, factor in pairs
        ),
    ),
    "SOLVER.WEIGHT_DECAY": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_BIAS": Rule("None, or 0 or more", lambda v: v is None or v >= 0),
    "SOLVER.BIAS_LR_FACTOR": NOT_NEGATIVE,
    "SOLVER.GAMMA": POSITIVE,
    "SOLVER.STEPS": each(
        WHOLE_FROM_1, "rising iterations", more=lambda steps: list(steps) == sorted(set(steps))
    ),
    "SOLVER.POLY_LR_POWER": POSITIVE,
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.WARMUP_METHOD": one_of(("linear", "constant")),
    "SOLVER.REFERENCE_WORLD_SIZE": WHOLE,
    "SOLVER.WARMUP_ITERS": NOT_NEGATIVE,
    "SOLVER.EMA.DECAY": SHARE_BELOW_1,
    "SOLVER.AMP.DTYPE": one_of(AMP_DTYPES),
    "SOLVER.LR_SCHEDULER_NAME": one_of(LR_SCHEDULERS),
    "SOLVER.MATMUL_PRECISION": one_of(MATMUL_PRECISIONS),
    "TEST.EVAL_PERIOD": NOT_NEGATIVE,
    "TEST.PICTURES": NOT_NEGATIVE,
}


def check_end(cfg: CfgNode) -> None:
    """Refuse a schedule that would rise.

    Raises:
        ValueError: names the key.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR" and solver.BASE_LR_END > solver.BASE_LR:
        raise ValueError(
            f"SOLVER.BASE_LR_END: expected at most SOLVER.BASE_LR {solver.BASE_LR:g}, got "
            f"{solver.BASE_LR_END:g}."
        )


def add_solver_config(cfg: CfgNode) -> None:
    """Add the keys of training and evaluation to a Detectron2 config, in place."""
    CN = type(cfg)
    # Seed of every random number generator (plus the rank of the process). A value >= 0 makes
    # two runs on the CPU identical and lets an interrupted run resume on the same loss curve;
    # negative draws a new seed for every start.
    cfg.SEED = 0

    # --- optimizer: AdamW, betas 0.9/0.999, eps 1e-8 (SED) ---
    # Learning rate of all that neither the model nor LR_MULTIPLIERS scales.
    cfg.SOLVER.BASE_LR = 2e-4
    # Factors on BASE_LR instead of the model's own, a list of [name, factor]. A name is a dotted
    # parameter prefix or a pattern with * ("*.gamma"); the last match wins; a name that matches no
    # parameter is an error. STSeg's own: the CLIP image tower learns 100 times slower (SED).
    cfg.SOLVER.LR_MULTIPLIERS = []
    # Weight decay of weights, biases and layer scales (SED) ...
    cfg.SOLVER.WEIGHT_DECAY = 1e-4
    # ... and of torch's own normalisation layers. The decoder's ConvNeXt-block norm is not one
    # of them, so it keeps WEIGHT_DECAY (SED).
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    # Gradient clipping. CLIP_TYPE: "full_model" one norm over all gradients (SED), "norm" per
    # parameter, "value" per number. CLIP_VALUE: largest norm (or absolute value).
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.01

    # --- schedule ---
    # Optimizer steps in all (paper: 80 000).
    cfg.SOLVER.MAX_ITER = 80000
    # Images per optimizer step, over all processes and all ACCUMULATE_STEPS (paper: 4).
    cfg.SOLVER.IMS_PER_BATCH = 4
    # Micro-batches per optimizer step: each process runs
    # IMS_PER_BATCH / processes / ACCUMULATE_STEPS images at a time. Saves memory; the result is
    # that of 1 as long as the loss is a mean over images of equal size.
    cfg.SOLVER.ACCUMULATE_STEPS = 1
    # One of LR_SCHEDULERS above: cosine to BASE_LR_END (SED), polynomial to 0, steps.
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    # Exponent of WarmupPolyLR.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    # Iterations of linear warm-up; 0 = none (SED).
    cfg.SOLVER.WARMUP_ITERS = 0
    # Iterations between checkpoints.
    cfg.SOLVER.CHECKPOINT_PERIOD = 5000
    # How many of them stay, the latest ones; 0 = all. model_final.pth and model_best.pth do anyway.
    cfg.SOLVER.CHECKPOINTS_KEPT = 3
    # Iterations between lines in the log, metrics.json and TensorBoard.
    cfg.SOLVER.LOG_PERIOD = 20

    # --- precision (SED: float32 with TF32 products) ---
    # Mixed precision in training: "bf16", or "fp16" with loss scaling (on the CPU bf16 is used
    # in its place). Evaluation has a key of its own, MODEL.DTYPE.
    cfg.SOLVER.AMP.ENABLED = False
    cfg.SOLVER.AMP.DTYPE = "bf16"
    # Precision of float32 matrix products, see torch.set_float32_matmul_precision.
    cfg.SOLVER.MATMUL_PRECISION = "high"

    # Let cuDNN time its algorithms (SED): training crops have one size.
    cfg.CUDNN_BENCHMARK = True

    # --- moving average of the weights (ours, off as in the paper) ---
    # When on, the average is evaluated, kept as best and used by --eval-only.
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    # Share of the old average kept at each iteration, in [0, 1).
    cfg.SOLVER.EMA.DECAY = 0.999

    # --- evaluation during training ---
    # Iterations between evaluations of DATASETS.TEST; 0 = only after the last one.
    cfg.TEST.EVAL_PERIOD = 10000
    # Result of the first set of DATASETS.TEST that chooses model_best.pth (larger is better).
    cfg.TEST.BEST_METRIC = "sem_seg/mIoU"
    # Images of the first set of DATASETS.TEST shown in TensorBoard at each evaluation; 0 = none.
    cfg.TEST.PICTURES = 4
