"""A process of training or evaluation before it starts: config, checks, folder, logs, data sets."""

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm

from stseg.checkpoint import check_weights
from stseg.config import IMAGES_NAME, needs_sam, setup_cfg, trusted_labels, unread_changes
from stseg.data import (
    check_labels,
    check_registered,
    dataset_vocabulary,
    has_captions,
    register_from_cfg,
)
from stseg.engine.dry_run import make_dry
from stseg.engine.run_folder import has_checkpoint, latest_aside, locked, set_aside
from stseg.engine.screen import set_up_logs, tell
from stseg.modeling.encoders import check_sam_checkpoint
from stseg.self_training import load_target, register_target
from stseg.utils import remove_leftovers, write_atomically

logger = logging.getLogger(__name__)


def setup_run(args: argparse.Namespace) -> CfgNode:
    """Config, logs, seeds and data sets of one training or evaluation process.

    OUTPUT_DIR receives the full config and the log with versions of everything; for the screen see
    `stseg.engine.screen`.

    Args:
        args: from `stseg.engine.arguments.parse_args`.
    """
    cfg = cfg_of(args)
    set_up_logs(cfg.OUTPUT_DIR, comm.get_rank(), getattr(args, "verbose", False))
    with _kept_config(cfg, args):
        default_setup(cfg, args)
    if aside := getattr(args, "set_aside", ""):
        logger.warning("What an earlier run left in %s lies in %s now.", cfg.OUTPUT_DIR, aside)
    for line in unread_changes(cfg):
        logger.warning(line)
    torch.set_float32_matmul_precision(cfg.SOLVER.MATMUL_PRECISION)
    for line in register_from_cfg(cfg):
        logger.info(line)
    skipped = register_target(cfg)
    if skipped:  # told on the screen before, when there was no log yet
        names = ", ".join(os.path.basename(path) for path, _ in skipped)
        logger.warning("%d images cannot be read and are left out: %s", len(skipped), names)
    _tell_run(cfg, args)
    _tell_names(cfg)
    return cfg


def _tell_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Log what runs where."""
    device = cfg.MODEL.DEVICE
    where = [f"{comm.get_world_size()} x {device}"]
    if device.startswith("cuda"):
        where.append(torch.cuda.get_device_name())
    else:
        where.append(f"threads: {torch.get_num_threads()}")
    tell(
        "This run:",
        [
            ("config", args.config_file),
            ("weights", "the run's last checkpoint" if args.resume else cfg.MODEL.WEIGHTS),
            ("device", ", ".join(where)),
            ("images", cfg.SELF_TRAINING.IMAGES),
            ("vocabulary", cfg.SELF_TRAINING.VOCABULARY),
            ("output", cfg.OUTPUT_DIR),
        ],
    )


def _tell_names(cfg: CfgNode) -> None:
    """Warn of what is probably not meant in the names of one's own data."""
    own = [entry["name"] if isinstance(entry, dict) else entry[0] for entry in cfg.DATASETS.FOLDERS]
    if cfg.SELF_TRAINING.IMAGES:
        own.append(IMAGES_NAME)
    for name in own:
        for note in () if has_captions(name) else dataset_vocabulary(name).notes():
            logger.warning("Names of %s: %s", name, note)


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
        remove_leftovers(cfg.OUTPUT_DIR, below=True)
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
    if (adapts and not args.eval_only or args.preview) and needs_sam(cfg):
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


def _check_own_labels(cfg: CfgNode, is_trained_on: bool) -> None:
    """List the user's own folders and look into some label maps; benchmarks are well known."""
    names = list(cfg.DATASETS.TEST)
    if is_trained_on:  # adaptation does not look at the labels of its target
        names += [] if cfg.SELF_TRAINING.ENABLED else cfg.DATASETS.TRAIN
        names += [*cfg.SELF_TRAINING.SOURCE.DATASETS, *trusted_labels(cfg)]
    for name in dict.fromkeys(names):
        if name in DatasetCatalog and hasattr(MetadataCatalog.get(name), "label_coding"):
            check_labels(name, DatasetCatalog.get(name))


def check_data(cfg: CfgNode, is_trained_on: bool = True) -> None:
    """Look for the data of a run before processes are started.

    Args:
        cfg: of the run.
        is_trained_on: look at the images to adapt to as well.

    Raises:
        ValueError, FileNotFoundError: see `register_from_cfg`, `register_target`, `load_target`,
            `check_labels`.
    """
    register_from_cfg(cfg)
    register_target(cfg)
    _check_own_labels(cfg, is_trained_on)
    if is_trained_on and cfg.SELF_TRAINING.ENABLED and cfg.SELF_TRAINING.ROUNDS > 0:
        if not cfg.DATASETS.TRAIN:
            raise ValueError(
                "--images: expected a folder of images to adapt to, or data sets in "
                "DATASETS.TRAIN, got neither. Give --images DIR --vocabulary NAMES."
            )
        load_target(cfg)


def check_names(cfg: CfgNode, is_trained_on: bool = True) -> None:
    """Refuse names of data sets that nobody registered, before anything is built.

    Args:
        cfg: of the run; `check_data` has registered its own data.
        is_trained_on: the run trains as well.

    Raises:
        ValueError: names the key and the data set.
    """
    named = {"DATASETS.TEST": cfg.DATASETS.TEST}
    if is_trained_on:
        named["DATASETS.TRAIN"] = cfg.DATASETS.TRAIN
        named["SELF_TRAINING.SOURCE.DATASETS"] = cfg.SELF_TRAINING.SOURCE.DATASETS
        named["SELF_TRAINING.VLM.GROUND_TRUTH"] = trusted_labels(cfg)
    for key, names in named.items():
        for name in names:
            check_registered(name, key)
