"""Keys that Detectron2's config has and that nothing here reads: who sets one should know."""

from __future__ import annotations

from detectron2.config import CfgNode, get_cfg

from stseg.config.table import add_stseg_config, leaves

#: Detectron2's own keys that this project, or what it calls of Detectron2, does read.
READ = frozenset(
    """
    VERSION OUTPUT_DIR SEED CUDNN_BENCHMARK
    MODEL.DEVICE MODEL.META_ARCHITECTURE MODEL.WEIGHTS MODEL.SEM_SEG_HEAD.NAME
    INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN_SAMPLING INPUT.MAX_SIZE_TRAIN INPUT.MIN_SIZE_TEST
    INPUT.MAX_SIZE_TEST INPUT.RANDOM_FLIP INPUT.CROP.ENABLED INPUT.CROP.TYPE INPUT.CROP.SIZE
    INPUT.FORMAT DATASETS.TRAIN DATASETS.TEST DATALOADER.NUM_WORKERS DATALOADER.SAMPLER_TRAIN
    SOLVER.LR_SCHEDULER_NAME SOLVER.MAX_ITER SOLVER.BASE_LR SOLVER.BASE_LR_END SOLVER.WEIGHT_DECAY
    SOLVER.WEIGHT_DECAY_NORM SOLVER.WEIGHT_DECAY_BIAS SOLVER.BIAS_LR_FACTOR SOLVER.GAMMA
    SOLVER.STEPS SOLVER.WARMUP_FACTOR SOLVER.WARMUP_ITERS SOLVER.WARMUP_METHOD
    SOLVER.RESCALE_INTERVAL SOLVER.CHECKPOINT_PERIOD SOLVER.IMS_PER_BATCH
    SOLVER.REFERENCE_WORLD_SIZE SOLVER.CLIP_GRADIENTS.ENABLED SOLVER.CLIP_GRADIENTS.CLIP_TYPE
    SOLVER.CLIP_GRADIENTS.CLIP_VALUE SOLVER.CLIP_GRADIENTS.NORM_TYPE SOLVER.AMP.ENABLED
    TEST.EVAL_PERIOD TEST.EXPECTED_RESULTS
    """.split()
)
#: Part of a config, and the key that says who reads it.
_READERS = (
    ("", "MODEL.META_ARCHITECTURE"),
    ("MODEL.SEM_SEG_HEAD.", "MODEL.SEM_SEG_HEAD.NAME"),
    ("INPUT.", "INPUT.MAPPER_NAME"),
)
#: Systems that are ours and so read what is said to be read.
_SYSTEMS = ("STSeg", "EBSeg", "CEL", "PGSeg")


def unread_keys() -> list[str]:
    """All of Detectron2's keys that nothing reads."""
    return [key for key, _ in leaves(get_cfg()) if key not in READ]


def unread_changes(cfg: CfgNode) -> list[str]:
    """A sentence for every key that was changed in vain.

    Systems, heads and mappers of others may read what they like: of these nothing is said.
    """
    plain = get_cfg()
    add_stseg_config(plain)
    default, given = dict(leaves(plain)), dict(leaves(cfg))
    foreign = tuple(part for part, key in _READERS if given[key] not in (default[key], *_SYSTEMS))
    return [
        f"{key}: {given[key]!r} changes nothing, for this key of Detectron2 is not read here."
        for key in unread_keys()
        if given.get(key, default[key]) != default[key] and not key.startswith(foreign)
    ]
