"""The command line of ``train_net.py``. Imports torch only after the flags are read."""

import argparse
from collections.abc import Sequence

from stseg.engine.screen import hide_old_ways

_EXAMPLES = """
examples:
  train on one GPU, changing two keys
    python train_net.py --config-file configs/X.yaml OUTPUT_DIR output/x SOLVER.BASE_LR 1e-4
  train on four GPUs, continuing after an interruption
    python train_net.py --config-file configs/X.yaml --num-gpus 4 --resume
  train on the CPU, in two processes
    python train_net.py --config-file configs/X.yaml --num-gpus 0 --num-cpu-processes 2
  adapt to a folder of images without labels; look at the pseudo-labels of 12 images first
    python train_net.py --config-file configs/stseg/adapt_folder.yaml --images photos \\
        --vocabulary names.txt --preview 12 MODEL.WEIGHTS model.pth
    python train_net.py --config-file configs/stseg/adapt_folder.yaml --images photos \\
        --vocabulary names.txt MODEL.WEIGHTS model.pth
  train and evaluate on data of one's own: labelme, COCO, panoptic, folders, see datasets/README.md
    python train_net.py --config-file configs/X.yaml --data mine=labelme:photos \\
        --data val=folder:checked DATASETS.TRAIN "('mine',)" DATASETS.TEST "('val',)"
  go through every phase of a run with two images, to find mistakes in minutes
    python train_net.py --config-file configs/X.yaml --dry-run 2
  evaluate the last checkpoint of a run, or a file
    python train_net.py --config-file configs/X.yaml --eval-only --resume
    python train_net.py --config-file configs/X.yaml --eval-only MODEL.WEIGHTS model.pth
  two machines
    python train_net.py ... --num-machines 2 --machine-rank 0 --dist-url tcp://HOST:PORT
    python train_net.py ... --num-machines 2 --machine-rank 1 --dist-url tcp://HOST:PORT
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line of ``train_net.py``.

    A flag that is out of range ends the program with a message and exit code 2.
    """
    parser = argument_parser()
    args = parser.parse_args(argv)
    if not args.verbose:
        hide_old_ways()
    import torch

    try:
        check_args(args, torch.cuda.device_count())
    except ValueError as error:
        parser.error(str(error))
    return args


def argument_parser() -> argparse.ArgumentParser:
    """The parser: Detectron2's flags and ``--num-cpu-processes``."""
    parser = argparse.ArgumentParser(
        description="Train, resume or evaluate a model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="YAML file; default: all default keys")
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    add(
        "--calibrate",
        default="",
        metavar="FILE",
        help="with --eval-only: first fit a temperature there, and write the weights with it",
    )
    add("--images", default="", metavar="DIR", help="images or a video to adapt to")
    add(
        "--vocabulary",
        default="",
        metavar="NAMES",
        help="their names: .txt, .json or text",
    )
    add(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FORMAT:PATH",
        help="register data of one's own under a name; may be given several times",
    )
    add("--preview", type=int, default=0, metavar="N", help="only label N images, on a page")
    add("--dry-run", type=int, default=0, metavar="N", help="every phase, with N images, and stop")
    add("--verbose", action="store_true", help="show on the screen all that log.txt keeps")
    add(
        "--num-gpus",
        type=int,
        help="GPUs on this machine; 0 = CPU (default: 1 if there is one)",
    )
    add("--num-cpu-processes", type=int, default=1, help="processes with --num-gpus 0")
    add("--num-machines", type=int, default=1, help="machines in all")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    add(
        "--dist-url",
        default="auto",
        help="where processes meet, tcp://HOST:PORT; auto = a free port of this machine",
    )
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to change")
    return parser


def check_args(args: argparse.Namespace, num_gpus_present: int) -> None:
    """Refuse flags that are out of range; --num-gpus, where it was not given, is set.

    Raises:
        ValueError: names the flag, the rule and the value.
    """
    if args.num_gpus is None:
        args.num_gpus = min(1, num_gpus_present)
    rules = [
        ("--num-gpus", args.num_gpus, 0 <= args.num_gpus <= num_gpus_present,
         f"0 to {num_gpus_present}, the GPUs that torch sees here"),
        ("--num-cpu-processes", args.num_cpu_processes, args.num_cpu_processes >= 1, "at least 1"),
        ("--num-cpu-processes", args.num_cpu_processes,
         args.num_cpu_processes == 1 or args.num_gpus == 0, "1 unless --num-gpus is 0"),
        ("--num-machines", args.num_machines, args.num_machines >= 1, "at least 1"),
        ("--machine-rank", args.machine_rank, 0 <= args.machine_rank < max(args.num_machines, 1),
         f"0 to {args.num_machines - 1}, below --num-machines"),
        ("--dist-url", args.dist_url, args.num_machines <= 1 or args.dist_url != "auto",
         "tcp://HOST:PORT when there are several machines"),
        ("--calibrate", args.calibrate,
         not args.calibrate or (args.eval_only and not args.dry_run and not args.preview),
         "--eval-only, and neither --dry-run nor --preview, with it"),
        ("--preview", args.preview, args.preview >= 0, "0 or more images"),
        ("--dry-run", args.dry_run, args.dry_run >= 0, "0 or more images"),
        ("--dry-run", args.dry_run, not (args.dry_run and args.resume), "no --resume with it"),
        ("KEY VALUE", " ".join(args.opts), len(args.opts) % 2 == 0,
         "pairs of a key and a value after all flags"),
    ]  # fmt: skip
    for name, value, is_good, rule in rules:
        if not is_good:
            raise ValueError(f"{name}: expected {rule}, got {value!r}.")
