"""From a config file and KEY VALUE pairs to a checked config and a prepared process."""

import argparse
import difflib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from stseg.config import add_stseg_config
from stseg.config import solver as choices
from stseg.data.datasets.folders import register_from_cfg

logger = logging.getLogger(__name__)


def setup_cfg(
    config_file: str | os.PathLike = "", opts: Sequence[Any] = (), *, device: str | None = None
) -> CfgNode:
    """Build the config: defaults, then the file and those it is based on, then `opts`.

    Args:
        config_file: YAML; empty = defaults only.
        opts: keys and values in turn, as on the command line.
        device: replaces MODEL.DEVICE. Where the device asked for does not exist, the CPU is used.

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
    cfg = setup_cfg(args.config_file, args.opts, device="cpu" if args.num_gpus == 0 else None)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="stseg")
    default_setup(cfg, args)
    torch.set_float32_matmul_precision(cfg.SOLVER.MATMUL_PRECISION)
    register_from_cfg(cfg)
    return cfg


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


_POSITIVE = ("a number above 0", lambda value: value > 0)
_NOT_NEGATIVE = ("0 or more", lambda value: value >= 0)

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
    "SOLVER.EMA.DECAY": ("a number in [0, 1)", lambda value: 0 <= value < 1),
    "SOLVER.AMP.DTYPE": _one_of(choices.AMP_DTYPES),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _one_of(choices.CLIP_TYPES),
    "SOLVER.LR_SCHEDULER_NAME": _one_of(choices.LR_SCHEDULERS),
    "SOLVER.MATMUL_PRECISION": _one_of(choices.MATMUL_PRECISIONS),
}


def check_values(cfg: CfgNode) -> None:
    """Refuse values out of range; the message lists all of them.

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
