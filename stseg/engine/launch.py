"""Command line and start of training processes, on GPUs or on the CPU."""

import argparse
import gc
import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine.launch import launch as launch_on_gpus
from detectron2.utils import comm

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
    add(
        "--num-gpus",
        type=int,
        default=min(1, torch.cuda.device_count()),
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
    """Refuse flags that are out of range.

    Raises:
        ValueError: names the flag, the rule and the value.
    """
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
        ("--preview", args.preview, args.preview >= 0, "0 or more images"),
        ("--dry-run", args.dry_run, args.dry_run >= 0, "0 or more images"),
        ("--dry-run", args.dry_run, not (args.dry_run and args.resume), "no --resume with it"),
        ("KEY VALUE", " ".join(args.opts), len(args.opts) % 2 == 0,
         "pairs of a key and a value after all flags"),
    ]  # fmt: skip
    for name, value, is_good, rule in rules:
        if not is_good:
            raise ValueError(f"{name}: expected {rule}, got {value!r}.")


def launch(main: Callable[..., Any], args: argparse.Namespace) -> Any:
    """Run `main(args)` in as many processes as the flags ask for.

    Args:
        main: importable by name, since processes are started fresh.
        args: from `parse_args`.

    Returns:
        What `main` returns if it runs in this process, else None.
    """
    if args.num_gpus > 0:
        per_machine, start = args.num_gpus, _launch_gpus
    else:
        per_machine, start = args.num_cpu_processes, _launch_cpu
    if per_machine * args.num_machines == 1:
        return main(args)
    url = f"tcp://127.0.0.1:{_free_port()}" if args.dist_url == "auto" else args.dist_url
    return start(main, args, url)


def _launch_gpus(main: Callable[..., Any], args: argparse.Namespace, url: str) -> None:
    launch_on_gpus(
        _run,
        args.num_gpus,
        args.num_machines,
        args.machine_rank,
        dist_url=url,
        args=(main, args, multiprocessing.get_start_method()),
    )


def _launch_cpu(main: Callable[..., Any], args: argparse.Namespace, url: str) -> None:
    # Detectron2's launcher takes NCCL, which needs GPUs, wherever there is one.
    method = multiprocessing.get_start_method()
    mp.start_processes(_cpu_worker, nprocs=args.num_cpu_processes, args=(main, args, method, url))


def _cpu_worker(
    local_rank: int, main: Callable[..., Any], args: argparse.Namespace, method: str, url: str
) -> None:
    count = args.num_cpu_processes
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    dist.init_process_group(
        "gloo",
        init_method=url,
        world_size=count * args.num_machines,
        rank=args.machine_rank * count + local_rank,
        timeout=timedelta(minutes=30),
    )
    try:
        comm.create_local_process_group(count)
        comm.synchronize()
        _run(main, args, method)
    finally:
        _leave_groups()


def _leave_groups() -> None:
    # A thread of a group that is still at work when Python ends aborts the process, after all its
    # work is done. The threads are joined with the last reference, and Detectron2 keeps two.
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()


def _run(main: Callable[..., Any], args: argparse.Namespace, method: str) -> None:
    # A spawned process would spawn its data workers too, each importing everything anew: half a
    # minute at every start of a loader, where the first process simply forks.
    multiprocessing.set_start_method(method, force=True)
    main(args)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
