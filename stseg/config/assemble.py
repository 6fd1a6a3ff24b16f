"""From a config file and KEY VALUE pairs to a checked config."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg

from stseg.config.data_entries import parse_flag
from stseg.config.self_training import IMAGES_NAME
from stseg.config.table import add_stseg_config, check_values, leaves
from stseg.config.yaml_files import file_settings
from stseg.utils import config_path, did_you_mean

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
        ValueError: if a value has the wrong type or is out of range; names the key. If a file is no
            YAML mapping.
    """
    cfg = get_cfg()
    add_stseg_config(cfg)
    if config_file:
        path = config_path(config_file)
        for key, value, file in file_settings(path):
            _merge_value(cfg, key, value, f"Set in {file}.")
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


def _merge_value(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    known = dict(leaves(cfg))
    if cfg.key_is_deprecated(key):  # yacs warns
        return
    below = [other for other in known if other.startswith(f"{key}.")]
    if below:
        raise ValueError(
            f"{key}: expected keys below it, such as {below[0]}, got {_shown(value)}. {where}"
        )
    if key not in known:
        raise KeyError(f"{key}: expected a known config key. {where}{did_you_mean(key, known)}")
    present = known[key]
    if isinstance(present, float) and _is_int(value):
        value = float(value)  # yacs refuses "BASE_LR: 1"
    try:
        cfg.merge_from_list([key, value])
        if present is not None and dict(leaves(cfg)).get(key) is None:  # which yacs would take
            raise ValueError("no value")
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"{key}: expected {type(present).__name__} such as {present!r}, got {_shown(value)} "
            f"({type(value).__name__}). {where}"
        ) from error


def _shown(value: Any) -> str:
    return "no value" if value is None else repr(value)


def _is_int(value: Any) -> bool:
    if isinstance(value, str):
        return value.lstrip("+-").isdigit()
    return isinstance(value, int) and not isinstance(value, bool)


def usable_device(name: str) -> str:
    """The device, or the CPU (with a warning) where it does not exist.

    Raises:
        ValueError: if there is no such kind of device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE: expected cpu, cuda, cuda:0 or mps, got {name!r}."
        ) from error
    if device.type in ("cpu", "meta"):
        return name
    # mps is found below torch.backends, other kinds right below torch.
    homes = (getattr(home, device.type, None) for home in (torch, torch.backends))
    module = next((home for home in homes if hasattr(home, "is_available")), None)
    if module is not None and module.is_available():
        count = getattr(module, "device_count", lambda: 1)()
        if (device.index or 0) < count:
            return name
    logger.warning("MODEL.DEVICE: %r is not available here, the CPU is used.", name)
    return "cpu"
