"""Doing tasks: in parallel, so that a kill at any moment loses nothing and leaves no half file."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from stseg.tools.preparation.tasks import Task
from stseg.utils import irregular_kind, remove_leftovers, write_atomically

logger = logging.getLogger(__name__)

#: Mean difference, in grey levels, that versions of JPEG libraries may make.
JPEG_TOLERANCE = 2.0
_CHUNK = 16
# What a raw file that is missing, damaged or of another variant makes a task raise.
_FAILURES = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class Outcome(NamedTuple):
    """What became of one task.

    Attributes:
        written: outputs written now.
        kept: outputs that were there and stayed.
        problems: pairs of a file and what is wrong with it.
    """

    written: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


def prepare(
    tasks: Sequence[Task], out: Path, *, jobs: int = 1, force: bool = False
) -> Iterator[Outcome]:
    """Write what is missing below `out`, or all of it with `force`.

    Files are written beside their place and moved there, so a file that is there is whole; a
    stopped run is continued by repeating it. A task that fails is reported and holds up nothing.

    Yields:
        One outcome per task, in order.
    """
    for folder in {(out / output).parent for task in tasks for output in task.outputs}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    return _each(partial(_prepare_one, out=out, force=force), tasks, jobs)


def check(tasks: Sequence[Task], out: Path, *, jobs: int = 1) -> Iterator[Outcome]:
    """Compute everything anew and compare with what lies below `out`; writes nothing.

    Label maps must agree in every pixel, however they are compressed; JPEG images up to
    `JPEG_TOLERANCE`.

    Yields:
        One outcome per task, in order; its problems are the missing and differing files.
    """
    return _each(partial(_check_one, out=out), tasks, jobs)


def unexpected(tasks: Sequence[Task], out: Path) -> list[str]:
    """Files beside the outputs that no task makes, sorted; they would count as part of a split."""
    expected = {output for task in tasks for output in task.outputs}
    folders = {str(Path(output).parent.as_posix()) for output in expected}
    suffixes = {Path(output).suffix for output in expected}
    return sorted(
        f"{folder}/{entry.name}"
        for folder in folders
        if (out / folder).is_dir()
        for entry in os.scandir(out / folder)
        if Path(entry.name).suffix in suffixes
        and not entry.name.startswith(".")
        and f"{folder}/{entry.name}" not in expected
    )


def _prepare_one(task: Task, out: Path, force: bool) -> Outcome:
    kept = tuple(o for o in task.outputs if not force and (out / o).exists())
    wanted = [output for output in task.outputs if output not in kept]
    if not wanted:
        return Outcome(kept=kept)
    try:
        contents = dict(zip(task.outputs, _made(task), strict=True))
        for output in wanted:
            write_atomically(out / output, contents[output])
    except _FAILURES as error:
        return Outcome(kept=kept, problems=((str(task.source), _said(task, error)),))
    return Outcome(written=tuple(wanted), kept=kept)


def _check_one(task: Task, out: Path) -> Outcome:
    try:
        contents = _made(task)
    except _FAILURES as error:
        return Outcome(problems=((str(task.source), _said(task, error)),))
    verdicts = [
        (output, _difference(out / output, content))
        for output, content in zip(task.outputs, contents, strict=True)
    ]
    return Outcome(
        kept=tuple(output for output, verdict in verdicts if not verdict),
        problems=tuple((output, verdict) for output, verdict in verdicts if verdict),
    )


def _made(task: Task) -> Sequence[bytes]:
    kind = irregular_kind(task.source)
    if kind:  # a worker that waits for a pipe cannot be stopped from the keyboard
        raise OSError(f"expected a file, got {kind}")
    return task.make(task.source, *task.arguments)


def _said(task: Task, error: Exception) -> str:
    """The message, without the file's name, which is said beside it."""
    return str(error).replace(f" {task.source}: ", ": ")


def _difference(path: Path, content: bytes) -> str:
    """How a file differs from what it should hold, "" if it does not."""
    try:
        present = path.read_bytes()
    except FileNotFoundError:
        return "missing"
    if present == content:
        return ""
    try:
        ours, theirs = _pixels(content), _pixels(present)
    except _FAILURES as error:
        return f"broken ({error})"
    if ours.shape != theirs.shape:
        return f"differs in size: expected {ours.shape}, got {theirs.shape}"
    if path.suffix == ".jpg":
        mean = float(np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).mean())
        return "" if mean <= JPEG_TOLERANCE else f"differs by {mean:.1f} grey levels on average"
    count = int((ours != theirs).sum())
    return f"differs in {count} of {ours.size} pixels" if count else ""


def _pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def _each(
    function: Callable[[Task], Outcome], tasks: Sequence[Task], jobs: int
) -> Iterator[Outcome]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    chunk = max(1, min(_CHUNK, len(tasks) // (4 * jobs)))
    # Forked workers are there at once; elsewhere they are started anew and import everything.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(function, tasks, chunksize=chunk)


def _start_worker() -> None:
    """A worker leaves the keyboard to its parent, uses one core, and ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
