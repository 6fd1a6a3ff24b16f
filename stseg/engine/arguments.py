"""The command line of ``train_net.py``. Imports torch only after the flags are read."""

import argparse
import sys
from collections.abc import Sequence

from stseg.utils import config_names, hide_old_ways
from stseg.weights import path_of

_EXAMPLES = """
examples:
  train on one GPU, changing two keys
    PROGRAM --config-file configs/X.yaml OUTPUT_DIR output/x SOLVER.BASE_LR 1e-4
  train on four GPUs, continuing after an interruption
    PROGRAM --config-file configs/X.yaml --num-gpus 4 --resume
  train on the CPU, in two processes
    PROGRAM --config-file configs/X.yaml --num-gpus 0 --num-cpu-processes 2
  adapt to a folder of images without labels; look at the pseudo-labels of 12 images first
    PROGRAM --config-file configs/stseg/adapt_folder.yaml --images photos \\
        --vocabulary names.txt --preview 12 MODEL.WEIGHTS model.pth
    PROGRAM --config-file configs/stseg/adapt_folder.yaml --images photos \\
        --vocabulary names.txt MODEL.WEIGHTS model.pth
  train and evaluate on data of one's own: labelme, COCO, panoptic, folders, see datasets/README.md
    PROGRAM --config-file configs/X.yaml --data mine=labelme:photos \\
        --data val=folder:checked DATASETS.TRAIN "('mine',)" DATASETS.TEST "('val',)"
  go through every phase of a run with two images, to find mistakes in minutes
    PROGRAM --config-file configs/X.yaml --dry-run 2
  evaluate the last checkpoint of a run, or a file
    PROGRAM --config-file configs/X.yaml --eval-only --resume
    PROGRAM --config-file configs/X.yaml --eval-only MODEL.WEIGHTS model.pth
  two machines
    PROGRAM ... --num-machines 2 --machine-rank 0 --dist-url tcp://HOST:PORT
    PROGRAM ... --num-machines 2 --machine-rank 1 --dist-url tcp://HOST:PORT
"""

_TRAIN = """
examples:
  on one GPU, with labels that are registered (datasets/README.md), changing two keys
    PROGRAM --config stseg_convnextB_768 --output output/x SOLVER.BASE_LR 1e-4
  on four GPUs, going on after an interruption
    PROGRAM --config stseg_convnextB_768 --num-gpus 4 --output output/x --resume
  on labels of one's own: labelme, COCO, panoptic, folders
    PROGRAM --config stseg_convnextB_768 --data mine=labelme:photos --data val=folder:checked \\
        DATASETS.TRAIN "('mine',)" DATASETS.TEST "('val',)"
  every phase of a run with two images, to find mistakes in minutes
    PROGRAM --config stseg_convnextB_768 --dry-run 2
"""

_ADAPT = """
examples:
  label twelve of the images and look at the page, then adapt
    PROGRAM photos/ names.txt --weights model.pth --output output/photos --preview 12
    PROGRAM photos/ names.txt --weights model.pth --output output/photos
  the miniature, on scenes of its world
    PROGRAM scenes/ "star; kite; grass; sky" --config mini/adapt_folder --output output/scenes
"""

_EVALUATE = """
examples:
  a file, on all sets of the config
    PROGRAM --config sed_convnextB_768 --weights weights://sed-convnextB
  on one set; on labels of one's own
    PROGRAM --config X --weights model.pth DATASETS.TEST "('ade20k_150_test_sem_seg',)"
    PROGRAM --config X --weights model.pth --data mine=labelme:photos DATASETS.TEST "('mine',)"
  the last checkpoint of a run
    PROGRAM --config X --output output/x --resume
"""

#: Task -> what it is, and examples.
_TASKS = {
    "": ("Train, resume, adapt or evaluate a model.", _EXAMPLES),
    "train": ("Train a model on labelled data, or go on with a run.", _TRAIN),
    "adapt": ("Adapt a model to images without labels, by self-training.", _ADAPT),
    "evaluate": ("Evaluate a model on data sets with labels.", _EVALUATE),
}


def parse_args(
    argv: Sequence[str] | None = None, program: str = "train_net.py", task: str = ""
) -> argparse.Namespace:
    """Parse and check the command line of ``train_net.py``, or of a part of what it does.

    Flags and KEY VALUE pairs may come in any order. A flag that is out of range ends the program
    with a message and exit code 2.

    Args:
        argv: those of the process by default.
        program: for messages.
        task: "train", "adapt" or "evaluate", whose flags alone are taken; "" for all of them.
    """
    parser = argument_parser(program, task)
    given = sys.argv[1:] if argv is None else argv
    args = parser.parse_intermixed_args(
        [" " + part if _is_number(part) else part for part in given]
    )
    args.opts = [part.strip() for part in args.opts]
    if task and not args.config_file:
        parser.error(
            "--config: expected a YAML file, or the name of one that ships "
            f"({', '.join(config_names())}), got none."
        )
    short = (("MODEL.WEIGHTS", args.weights and path_of(args.weights)), ("OUTPUT_DIR", args.output))
    args.opts += [part for key, value in short if value for part in (key, value)]
    if not args.verbose:
        hide_old_ways()
    import torch

    try:
        check_args(args, torch.cuda.device_count())
    except ValueError as error:
        parser.error(str(error))
    return args


def _is_number(text: str) -> bool:
    """Whether argparse could take a value, such as -1e-4, for a flag; with a blank it cannot."""
    try:
        return text.startswith("-") and float(text) <= 0
    except ValueError:
        return False


def argument_parser(program: str = "train_net.py", task: str = "") -> argparse.ArgumentParser:
    """The parser: Detectron2's flags and our own; see `parse_args`."""
    description, examples = _TASKS[task]
    parser = argparse.ArgumentParser(
        program,
        description=description,
        epilog=examples.replace("PROGRAM", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(eval_only=task == "evaluate", calibrate="", images="", vocabulary="")
    parser.set_defaults(preview=0, dry_run=0)
    default = {"adapt": "stseg/adapt_folder"}.get(task, "")
    if task == "adapt":
        parser.add_argument("images", metavar="IMAGES", help="folder of images, or a video")
        parser.add_argument("vocabulary", metavar="NAMES", help="text, .txt, .json or vocab:NAME")
    parser.add_argument("--config-file", "--config", default=default, metavar="CONFIG", help="YAML "
        f"file, or name of one that ships; default: {default or 'all default keys'}")  # fmt: skip
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="file, or name of `stseg weights list`; sets MODEL.WEIGHTS",
    )
    parser.add_argument("--output", default="", metavar="DIR", help="sets OUTPUT_DIR")
    _add_task(parser, task)
    _add_processes(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys to change")
    return parser


def _add_task(parser: argparse.ArgumentParser, task: str) -> None:
    add = parser.add_argument
    add("--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR"
        if task != "evaluate" else "evaluate the last checkpoint in OUTPUT_DIR")  # fmt: skip
    if not task:
        add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
        add("--images", metavar="DIR", help="images or a video to adapt to")
        add("--vocabulary", metavar="NAMES", help="their names: .txt, .json or text")
    if task in ("", "evaluate"):
        add("--calibrate", metavar="FILE", help="in an evaluation: first fit a temperature there, "
            "and write the weights with it")  # fmt: skip
    add("--data", action="append", default=[], metavar="NAME=FORMAT:PATH",
        help="register data of one's own under a name; may be given several times")  # fmt: skip
    if task in ("", "adapt"):
        add("--preview", type=int, metavar="N", help="only label N images, on a page")
    if task != "evaluate":
        add("--dry-run", type=int, metavar="N", help="every phase, with N images, and stop")


def _add_processes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--verbose", action="store_true", help="show on the screen all that log.txt keeps")
    add("--num-gpus", type=int, help="GPUs on this machine; 0 = CPU (default: 1 if there is one)")
    add("--num-cpu-processes", type=int, default=1, help="processes with --num-gpus 0")
    add("--num-machines", type=int, default=1, help="machines in all")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    add("--dist-url", default="auto", help="where processes meet, tcp://HOST:PORT; auto = a free"
        " port of this machine")  # fmt: skip


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
         "pairs of a key and a value"),
    ]  # fmt: skip
    for name, value, is_good, rule in rules:
        if not is_good:
            raise ValueError(f"{name}: expected {rule}, got {value!r}.")
