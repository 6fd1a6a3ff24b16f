"""Start of training processes, on GPUs or on the CPU."""

import argparse
import gc
import multiprocessing
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.engine.launch import launch as launch_on_gpus
from detectron2.utils import comm


def launch(main: Callable[..., Any], args: argparse.Namespace) -> Any:
    """Run `main(args)` in as many processes as the flags ask for.

    Args:
        main: importable by name, since processes are started fresh.
        args: from `parse_args`.

    Returns:
        What `main` returns if it runs in this process, else None.
    """
    per_machine = args.num_gpus or args.num_cpu_processes
    if per_machine * args.num_machines == 1:
        return main(args)
    url = f"tcp://127.0.0.1:{free_port()}" if args.dist_url == "auto" else args.dist_url
    told = (main, args, multiprocessing.get_start_method())
    if args.num_gpus > 0:
        return launch_on_gpus(
            _run, per_machine, args.num_machines, args.machine_rank, dist_url=url, args=told
        )
    # Detectron2's launcher takes NCCL, which needs GPUs, wherever there is one.
    return mp.start_processes(cpu_worker, nprocs=per_machine, args=(*told, url))


def cpu_worker(
    local_rank: int, main: Callable[..., Any], args: argparse.Namespace, method: str, url: str
) -> None:
    """One of several processes of a run on the CPU, which talk by gloo.

    Args:
        local_rank: from 0, on this machine.
        main: called with `args`.
        args: from `parse_args`.
        method: how this process starts its data workers, "fork" or "spawn".
        url: where the processes meet, tcp://HOST:PORT.
    """
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


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
