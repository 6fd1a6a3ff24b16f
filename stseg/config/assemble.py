"""From a config file and KEY VALUE pairs to a checked config."""

import difflib
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg

from stseg.config.data_entries import parse_flag
from stseg.config.self_training import IMAGES_NAME
from stseg.config.table import add_stseg_config, check_values, leaves
from stseg.utils import config_path

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
        config_file: YAML, or the name of one that ships (`config_path`); empty = defaults only.
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
        _merge_file(cfg, str(config_path(config_file)))
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
    for key, value in leaves(loaded):
        _merge_value(cfg, key, value, where)


def _merge_value(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    known = dict(leaves(cfg))
    if cfg.key_is_deprecated(key):  # yacs warns
        return
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
