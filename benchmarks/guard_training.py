"""Cases of the study of the guard, and the processes that train them and their starts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ablation_runs import ROOT, Plan, Run
from benchmarks.guard_case import kinds
from benchmarks.guard_worlds import DRAWINGS, World

SHIPPED = "stseg://small_world/stseg_mini.pth"


@dataclass(frozen=True)
class Case:
    """One stage 2 with all its rounds.

    Attributes:
        start: one of its world's.
        kind: of `benchmarks.guard_case.kinds`.
        out: folder of the study.
        world: where it runs.
    """

    start: str
    kind: str
    out: Path
    world: World = DRAWINGS

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return self.out / "cases" / self.start / self.kind

    @property
    def place(self) -> tuple[int, int]:
        """Of the start, and of the kind among those of the start."""
        starts, found = list(self.world.starts), kinds_of(self.start, self.world)
        return starts.index(self.start), found.index(self.kind)

    @property
    def is_aside(self) -> bool:
        """Whether it is judged once, and chose no limit."""
        return self.start not in self.world.chosen_by

    @property
    def seed(self) -> int:
        """Of its own for every case."""
        return 100 * self.place[0] + self.place[1]


def kinds_of(start: str, world: World = DRAWINGS) -> list[str]:
    """All kinds, or all but that of the two with swapped classes which is not the start's turn."""
    left_out = ("swapped_3", "swapped_1")[list(world.starts).index(start) % 2]
    return [kind for kind in kinds(world) if not world.swaps_in_turn or kind != left_out]


def start_runs(cases: Sequence[Case], plan: Plan) -> dict[str, Run]:
    """The stage 1 behind each start that some cases have, but for the weights that ship."""
    found = {case.start: case.world.starts[case.start] for case in cases}
    return {start: Run(plan, *row) for start, row in found.items() if row}


def train(cases: Sequence[Case], plan: Plan, jobs: int, flags: Sequence[str] = ()) -> None:
    """Train what is missing: starts one after the other, then cases, `jobs` at a time.

    Args:
        cases: all of them.
        plan: of the starts; cases have its threads and its data root.
        jobs: cases at a time.
        flags: of `benchmarks.guard_case`, for their world.

    Raises:
        RuntimeError: if a process fails.
    """
    starts = start_runs(cases, plan)
    for run in starts.values():
        run.claim()
        run.train()
    environment = {
        **os.environ,
        "DETECTRON2_DATASETS": str(plan.data),
        "OMP_NUM_THREADS": str(plan.threads),
    }

    def finish(case: Case) -> None:
        since = time.monotonic()
        case.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.guard_case", case.kind]
        start = starts[case.start].weights if case.start in starts else SHIPPED
        command += [*flags, "--start", start, "--seed", str(case.seed)]
        log = case.folder / "process.txt"
        with open(log, "ab") as file:
            code = subprocess.run(
                [*command, "--out", str(case.folder)],
                stdout=file, stderr=file, env=environment, cwd=ROOT, check=False,
            ).returncode  # fmt: skip
        if code:
            raise RuntimeError(f"{case.start}, {case.kind}: exit code {code}, see {log}.")
        for path in case.folder.glob("*.pth"):
            path.unlink()
        print(f"{case.start}, {case.kind}: done in {time.monotonic() - since:.0f} s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(finish, (case for case in cases if not done_file(case).exists())))


def done_file(case: Case) -> Path:
    """Written when a case is done."""
    return case.folder / "case.json"
