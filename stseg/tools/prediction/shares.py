"""Parts of one job: what is done already, what falls to this process, and several of them."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stseg.data import is_video
from stseg.tools.prediction.asked import REQUEST, Asked
from stseg.tools.prediction.segment_files import INCOMPLETE, Item, Wanted
from stseg.tools.prediction.tiling import Tiling
from stseg.tools.prediction.weights_choice import Choice
from stseg.utils import as_bytes, read_json, remove_leftovers, write_atomically

_SECONDS_TO_END = 10.0
#: By kind, of pictures; and of those that lie somewhere.
_ENDS = {
    "labels": (".png", ".tif"),
    "json": (".json",),
    "overlay": ("_overlay.jpg",),
    "legend": ("_legend.jpg",),
    "confidence": ("_confidence.png", "_confidence.tif"),
}


def share_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Every N-th item from the K-th on.

    Args:
        items: of the whole job, in the same order everywhere.
        shard: "K/N" with K from 1, "" for all.

    Raises:
        ValueError: if it is nothing of the kind.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard or "1/1")
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"--shard: expected K/N with K from 1 to N, such as 2/8, got {shard!r}.")
    return list(items[int(match[1]) - 1 :: int(match[2])])


def is_done(item: Item, wanted: Wanted) -> bool:
    """Whether all that is wanted of an item lies in the output folder."""
    folder, stem = wanted.place(item)
    if is_video(item.path):  # the video is the last file that is written
        whole = not (folder / INCOMPLETE.format(stem)).exists()
        return wanted.video and (folder / f"{stem}_overlay.mp4").is_file() and whole
    return bool(wanted.kinds) and all(
        any((folder / f"{stem}{end}").is_file() for end in _ENDS[k]) for k in wanted.kinds
    )


def request_of(asked: Asked, choice: Choice, opts: Sequence[str]) -> dict[str, Any]:
    """What the results are answers to, for a file."""
    policy = asked.vocabulary.background
    return {
        "config": choice.config,
        "weights": choice.weights,
        "keys": list(opts),
        "names": [list(synonyms) for synonyms in asked.vocabulary.synonyms],
        "background": [policy.policy, policy.value, list(policy.names)],
        "tiles": _tiles_of(asked.wanted.tiling),
        "steady": asked.wanted.steady or None,
    }


def _tiles_of(tiling: Tiling) -> list[Any] | None:
    """What answers depend on; None where nothing was said, as before there were tiles."""
    if tiling == Tiling():
        return None
    rule = tiling.rule
    bands, values = rule.bands, rule.values
    return [
        tiling.side, tiling.overlap,
        None if bands is None else list(bands), values if isinstance(values, str) else list(values),
    ]  # fmt: skip


def check_request(output: Path, request: dict[str, Any]) -> None:
    """Refuse to go on with a folder whose results are answers to something else.

    Raises:
        ValueError: names what has changed.
    """
    path = output / REQUEST
    before = read_json(path, "--resume") if path.is_file() else request
    if not isinstance(before, dict):
        before = {}
    changed = [key for key, value in request.items() if before.get(key) != value]
    if changed:
        raise ValueError(
            f"--resume: expected what {output} was begun with, got other {', '.join(changed)}. "
            "Give another --output, or leave --resume out to make everything anew."
        )


def write_request(output: Path, request: dict[str, Any]) -> None:
    """Keep it beside the results."""
    remove_leftovers(output, below=True)
    output.mkdir(parents=True, exist_ok=True)
    content = as_bytes(json.dumps(request, ensure_ascii=False))
    write_atomically(output / REQUEST, content)


def run_shares(argv: Sequence[str], args: argparse.Namespace) -> int:
    """Run the same command in several processes, each with its share, and wait for them.

    Args:
        argv: the command line without its program.
        args: of it; `processes` says how many, and where there are GPUs they take turns.

    Returns:
        The highest exit code.

    Raises:
        ValueError: if the command line asks for one share already.
    """
    import torch

    if args.shard:
        raise ValueError("--processes: expected no --shard with it, got both. Give one of them.")
    count, gpus = args.processes, torch.cuda.device_count()
    environment = dict(os.environ)
    threads = max(1, (os.cpu_count() or 1) // count)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    children = []
    for k in range(count):
        command = [sys.executable, "-m", "stseg", "predict", *argv]
        command += ["--processes", "1", "--shard", f"{k + 1}/{count}"]
        if args.device is None and gpus:
            command += ["--device", f"cuda:{k % gpus}"]
        children.append(subprocess.Popen(command, env=environment))
    try:
        return max(abs(child.wait()) for child in children)
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                child.kill()
