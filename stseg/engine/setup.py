"""From a config file and KEY VALUE pairs to a checked config and a prepared process."""

import argparse
import difflib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from stseg.checkpoint.checkpointer import check_weights
from stseg.config import add_stseg_config
from stseg.config import solver as choices
from stseg.config.data_entries import parse_flag
from stseg.config.self_training import FRAMES
from stseg.data.readers.folders import register_from_cfg
from stseg.engine.dry_run import make_dry
from stseg.engine.run_folder import has_checkpoint, latest_aside, locked, set_aside
from stseg.modeling.encoders.sam import check_sam_checkpoint
from stseg.modeling.losses.segmentation import check_ignored
from stseg.self_training.gate import SCORINGS
from stseg.self_training.refiner import KINDS
from stseg.self_training.target import IMAGES_NAME, load_target, register_target
from stseg.utils.files import write_atomically

logger = logging.getLogger(__name__)


def setup_cfg(
    config_file: str | os.PathLike = "",
    opts: Sequence[Any] = (),
    *,
    device: str | None = None,
    images: str = "",
    vocabulary: str = "",
    data: Sequence[str] = (),
) -> CfgNode:
    """Build the config: defaults, then the file and those it is based on, then `opts`.

    Args:
        config_file: YAML; empty = defaults only.
        opts: keys and values in turn, as on the command line.
        device: replaces MODEL.DEVICE. Where the device asked for does not exist, the CPU is used.
        images: replaces SELF_TRAINING.IMAGES, the folder to adapt to.
        vocabulary: replaces SELF_TRAINING.VOCABULARY, a names file or names.
        data: added to DATASETS.FOLDERS, each as `parse_flag` reads it.

    Returns:
        The config, frozen.

    Raises:
        FileNotFoundError: if the file, or one it is based on, is missing.
        KeyError: if a key does not exist; names the nearest one.
        ValueError: if a value has the wrong type or is out of range; names the key.
    """
    cfg = get_cfg()
    add_stseg_config(cfg)
    if config_file:
        _merge_file(cfg, os.fspath(config_file))
    if len(opts) % 2:
        raise ValueError(f"KEY VALUE: expected pairs of a key and a value, got {list(opts)}.")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        _merge_value(cfg, key, value, "Given on the command line.")
    if data:
        cfg.DATASETS.FOLDERS = [*cfg.DATASETS.FOLDERS, *map(parse_flag, data)]
    _set_target(cfg, images, vocabulary)
    check_values(cfg)
    cfg.MODEL.DEVICE = usable_device(device or cfg.MODEL.DEVICE)
    cfg.freeze()
    return cfg


def setup_run(args: argparse.Namespace) -> CfgNode:
    """Config, logs, seeds and data sets of one training or evaluation process.

    OUTPUT_DIR receives the full config and the log with versions of everything.

    Args:
        args: from `stseg.engine.launch.parse_args`.
    """
    cfg = cfg_of(args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="stseg")
    with _kept_config(cfg, args):
        default_setup(cfg, args)
    if aside := getattr(args, "set_aside", ""):
        logger.warning("What an earlier run left in %s lies in %s now.", cfg.OUTPUT_DIR, aside)
    torch.set_float32_matmul_precision(cfg.SOLVER.MATMUL_PRECISION)
    for line in register_from_cfg(cfg):
        logger.info(line)
    skipped = register_target(cfg)
    if skipped:  # told on the screen before, when there was no log yet
        names = ", ".join(os.path.basename(path) for path, _ in skipped)
        logger.warning("%d images cannot be read and are left out: %s", len(skipped), names)
    return cfg


@contextmanager
def _kept_config(cfg: CfgNode, args: argparse.Namespace) -> Iterator[None]:
    """What only looks at a run leaves the run's config.yaml as it is, with its own beside it."""
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    looks = args.eval_only or args.preview
    keeps = looks and comm.is_main_process() and path.is_file() and has_checkpoint(cfg)
    kept = path.read_bytes() if keeps else b""
    yield
    if keeps:
        os.replace(path, path.with_name("config_eval.yaml"))
        write_atomically(path, kept)


@contextmanager
def claimed_folder(cfg: CfgNode, args: argparse.Namespace) -> Iterator[None]:
    """Hold OUTPUT_DIR for this run; what an earlier one left there is set aside for a new one.

    Args:
        cfg: of the run.
        args: `set_aside` is added, for the log: where the earlier files are, "" for nowhere.

    Raises:
        ValueError: if another run holds the folder, or the new one starts from a file in it.
    """
    if args.machine_rank > 0:  # the first machine does it, the folder may be shared
        yield
        return
    with locked(cfg.OUTPUT_DIR):
        is_new = not (args.eval_only or args.preview or args.dry_run)
        if is_new and not (args.resume and has_checkpoint(cfg)):
            args.set_aside = set_aside(cfg)
        yield


def check_start(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Refuse a run that would use weights that have learnt nothing, before it is started.

    Raises:
        FileNotFoundError: if a file is missing, or --resume finds nothing to evaluate, or no more
            than an earlier run.
        ValueError: names the key that is empty.
    """
    adapts = cfg.SELF_TRAINING.ENABLED and cfg.SELF_TRAINING.ROUNDS > 0
    trains = not (args.eval_only or args.preview)
    if trains and args.resume and not has_checkpoint(cfg) and (earlier := latest_aside(cfg)):
        raise FileNotFoundError(
            f"--resume: expected a checkpoint in OUTPUT_DIR {cfg.OUTPUT_DIR!r}, got none: the run "
            f"there was stopped before its first one, and an earlier run lies in {earlier}. Start "
            f"anew without --resume, or resume the earlier one with OUTPUT_DIR {earlier}."
        )
    if args.eval_only or args.preview:
        check_weights(cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR if args.resume else "")
    elif adapts and not (args.resume and has_checkpoint(cfg)):
        check_weights(cfg.MODEL.WEIGHTS)
    if (adapts and not args.eval_only or args.preview) and cfg.SELF_TRAINING.REFINE.ENABLED:
        check_sam_checkpoint(cfg.MODEL.SAM.CHECKPOINT)


def cfg_of(args: argparse.Namespace) -> CfgNode:
    """The config that the command line asks for; a dry run has one of its own."""
    cfg = setup_cfg(
        args.config_file,
        args.opts,
        device="cpu" if args.num_gpus == 0 else None,
        images=args.images,
        vocabulary=args.vocabulary,
        data=args.data,
    )
    if args.dry_run:
        make_dry(cfg, args.dry_run, args.num_machines * max(args.num_gpus, args.num_cpu_processes))
    return cfg


def check_data(cfg: CfgNode, is_trained_on: bool = True) -> None:
    """Look for the data of a run before processes are started.

    Args:
        cfg: of the run.
        is_trained_on: look at the images to adapt to as well.

    Raises:
        ValueError, FileNotFoundError: see `register_from_cfg`, `register_target`, `load_target`.
    """
    register_from_cfg(cfg)
    register_target(cfg)
    if is_trained_on and cfg.SELF_TRAINING.ENABLED and cfg.SELF_TRAINING.ROUNDS > 0:
        if not cfg.DATASETS.TRAIN:
            raise ValueError(
                "--images: expected a folder of images to adapt to, or data sets in "
                "DATASETS.TRAIN, got neither. Give --images DIR --vocabulary NAMES."
            )
        load_target(cfg)


def _set_target(cfg: CfgNode, images: str, vocabulary: str) -> None:
    """What SELF_TRAINING.* says of other keys."""
    st = cfg.SELF_TRAINING
    st.IMAGES, st.VOCABULARY = images or st.IMAGES, vocabulary or st.VOCABULARY
    if st.IMAGES and not st.ENABLED:
        raise ValueError(
            "--images: expected a config with SELF_TRAINING.ENABLED True, such as "
            "configs/stseg/adapt_folder.yaml, got one that trains on labels."
        )
    if st.VOCABULARY and not st.IMAGES:
        raise ValueError(f"--vocabulary: expected --images with it, got {st.VOCABULARY!r} alone.")
    if st.IMAGES:
        cfg.DATASETS.TRAIN = (IMAGES_NAME,)
    if st.ENABLED and st.ROUNDS > 0:
        cfg.SOLVER.MAX_ITER = st.ROUNDS * st.ROUND_ITERS


def _merge_file(cfg: CfgNode, path: str) -> None:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"--config-file: expected an existing YAML file, got {path!r}.")
    try:
        loaded = CfgNode.load_yaml_with_base(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: expected the config it is based on (_BASE_) at {error.filename!r}, "
            "got nothing there."
        ) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML, got text that is not: {error}") from error
    where = f"Set in {path} or a file it is based on."
    for key, value in _leaves(loaded):
        _merge_value(cfg, key, value, where)


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _merge_value(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    known = dict(_leaves(cfg))
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        raise KeyError(f"{key}: expected a known config key. {where} Did you mean {near[0]}?")
    present = known[key]
    if isinstance(present, float) and _is_int(value):
        value = float(value)  # yacs refuses "BASE_LR: 1"
    try:
        cfg.merge_from_list([key, value])
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"{key}: expected {type(present).__name__} such as {present!r}, got {value!r} "
            f"({type(value).__name__}). {where}"
        ) from error


def _is_int(value: Any) -> bool:
    if isinstance(value, str):
        return value.lstrip("+-").isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def usable_device(name: str) -> str:
    """The device, or the CPU (with a warning) where it does not exist."""
    kind = torch.device(name).type
    if kind in ("cpu", "mps", "meta") or torch.cuda.is_available():
        return name
    logger.warning("MODEL.DEVICE: %r is not available here, the CPU is used.", name)
    return "cpu"


def _one_of(names: Sequence[str]) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


def _some_of(names: Sequence[str]) -> tuple[str, Callable[[Any], bool]]:
    return f"at least one of {', '.join(names)}", lambda v: bool(v) and set(v) <= set(names)


_POSITIVE = ("a number above 0", lambda value: value > 0)
_NOT_NEGATIVE = ("0 or more", lambda value: value >= 0)
_SHARE = ("a number in [0, 1]", lambda value: 0 <= value <= 1)
_SHARE_BELOW_1 = ("a number in [0, 1)", lambda value: 0 <= value < 1)

#: Rule and test of every key that has a range.
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "SOLVER.BASE_LR": _POSITIVE,
    "SOLVER.MAX_ITER": _POSITIVE,
    "SOLVER.IMS_PER_BATCH": _POSITIVE,
    "SOLVER.ACCUMULATE_STEPS": _POSITIVE,
    "SOLVER.CHECKPOINT_PERIOD": _POSITIVE,
    "SOLVER.LOG_PERIOD": _POSITIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _POSITIVE,
    "SOLVER.WEIGHT_DECAY": _NOT_NEGATIVE,
    "SOLVER.WARMUP_ITERS": _NOT_NEGATIVE,
    "TEST.EVAL_PERIOD": _NOT_NEGATIVE,
    "TEST.PICTURES": _NOT_NEGATIVE,
    "SOLVER.EMA.DECAY": _SHARE_BELOW_1,
    "DATASETS.MAX_IMAGES": _NOT_NEGATIVE,
    "INPUT.BLUR_SIGMA": _NOT_NEGATIVE,
    "INPUT.NOISE_STD": _NOT_NEGATIVE,
    "SELF_TRAINING.ALPHA": _SHARE,
    "SELF_TRAINING.ROUNDS": _NOT_NEGATIVE,
    "SELF_TRAINING.ROUND_ITERS": _POSITIVE,
    "SELF_TRAINING.LABEL_MAX_SIZE": _POSITIVE,
    "SELF_TRAINING.PREVIEW": _NOT_NEGATIVE,
    "SELF_TRAINING.GATE.THRESH": _SHARE,
    "SELF_TRAINING.GATE.QUANTILE": _SHARE_BELOW_1,
    "SELF_TRAINING.GATE.SCORING": _one_of(SCORINGS),
    "SELF_TRAINING.REFINE.FRAME": _one_of(FRAMES),
    "SELF_TRAINING.REFINE.PROMPTS": _some_of(KINDS),
    "SELF_TRAINING.REFINE.BATCH_SIZE": _NOT_NEGATIVE,
    "SELF_TRAINING.REFINE.MIN_IOU": _SHARE,
    "SELF_TRAINING.REFINE.REGION_VOTE.PURITY": _SHARE,
    "SELF_TRAINING.REFINE.REGION_VOTE.POINTS_PER_SIDE": _POSITIVE,
    "SELF_TRAINING.SOURCE.FRACTION": _SHARE_BELOW_1,
    "SELF_TRAINING.GUARD.IMAGES": _POSITIVE,
    "SELF_TRAINING.GUARD.SURE_THRESH": _SHARE,
    "SELF_TRAINING.GUARD.MIN_AGREEMENT": _SHARE,
    "SELF_TRAINING.GUARD.MAX_DRIFT": _SHARE,
    "SELF_TRAINING.GUARD.MAX_SOURCE_DROP": _NOT_NEGATIVE,
    "SELF_TRAINING.GUARD.MIN_CHANGE": _SHARE,
    "SELF_TRAINING.GUARD.MIN_GAIN": _SHARE,
    "SOLVER.AMP.DTYPE": _one_of(choices.AMP_DTYPES),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _one_of(choices.CLIP_TYPES),
    "SOLVER.LR_SCHEDULER_NAME": _one_of(choices.LR_SCHEDULERS),
    "SOLVER.MATMUL_PRECISION": _one_of(choices.MATMUL_PRECISIONS),
}


def check_values(cfg: CfgNode) -> None:
    """Refuse values out of range, of which the message lists all, or that do not go together.

    Raises:
        ValueError: names each key, its rule and its value.
    """
    values = dict(_leaves(cfg))
    bad = [
        f"{key}: expected {rule}, got {values[key]!r}."
        for key, (rule, is_good) in _RULES.items()
        if not is_good(values[key])
    ]
    if bad:
        raise ValueError("\n".join(bad))
    check_ignored(cfg)
