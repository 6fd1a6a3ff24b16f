"""The training and evaluation runs behind the rows of the ablation, each a process.

A run lives in OUT/seed<K>/<row>: run.json (its settings), process.txt (what it said),
model_final.pth, done.json and eval/<data set>/results.json. What is finished is not done again, and
what was interrupted resumes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ablation_rows import ROWS, Row

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "mini"


@dataclass(frozen=True)
class Plan:
    """What all runs of one call share.

    Attributes:
        out: folder of all runs.
        data: the data root, $DETECTRON2_DATASETS of the runs.
        dataset: registered name that is evaluated.
        threads: of each process.
        stage1: keys and values for rows of stage 1.
        stage2: the same for stage 2.
        setting: folder of the runs below `out`, "" for `out` itself.
        variant: suffix of the folders of stage 2, for trying settings; "" for none.
        rows: by name.
    """

    out: Path
    data: Path
    dataset: str
    threads: int = 1
    stage1: tuple[str, ...] = ()
    stage2: tuple[str, ...] = ()
    setting: str = ""
    variant: str = ""
    rows: Mapping[str, Row] = field(default_factory=lambda: ROWS)

    @property
    def folder(self) -> Path:
        """Where the runs and the tables lie."""
        return self.out / self.setting


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    plan: Plan
    row: str
    seed: int
    spec: Row = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", self.plan.rows[self.row])

    @property
    def folder(self) -> Path:
        """Where all of it lives."""
        suffix = f"@{self.plan.variant}" if self.spec.adapts and self.plan.variant else ""
        return self.plan.folder / f"seed{self.seed}" / f"{self.row}{suffix}"

    @property
    def title(self) -> str:
        """For messages."""
        return f"seed {self.seed}, {self.spec.title}"

    @property
    def config(self) -> Path:
        """The config file."""
        return CONFIGS / self.spec.config

    @property
    def weights(self) -> str:
        """What is evaluated: what the run leaves behind, unless nothing is trained."""
        if not self.spec.trained:
            return Run(self.plan, self.spec.start, self.seed).weights
        return self.spec.weights or str(self.folder / "model_final.pth")

    @property
    def results(self) -> Path:
        """Results on the plan's data set."""
        return self.folder / "eval" / self.plan.dataset / "results.json"

    @property
    def is_trained(self) -> bool:
        """Trained by an earlier call."""
        return (self.folder / "done.json").exists()

    @property
    def is_done(self) -> bool:
        """Trained and evaluated by an earlier call."""
        return self.is_trained and self.results.exists()

    def settings(self) -> list[str]:
        """Keys and values that make the run what it is; paths are not among them."""
        of_stage = self.plan.stage2 if self.spec.adapts else self.plan.stage1
        return [*of_stage, *self.spec.opts, "SEED", str(self.seed)]

    def train(self) -> None:
        """Train unless that is done; continue where an earlier call was interrupted.

        Raises:
            RuntimeError: if the process fails.
        """
        from stseg.checkpoint import write_json

        if self.is_trained:
            return
        done = self.folder / "done.json"
        if self.spec.weights or not self.spec.trained:
            write_json(str(done), {})
            return
        opts = [*self.settings(), "DATASETS.TEST", "()", "OUTPUT_DIR", str(self.folder)]
        if self.spec.start:
            start = Run(self.plan, self.spec.start, self.seed)
            opts += ["MODEL.WEIGHTS", start.weights]
        seconds = self._train_net("--resume", opts)
        for checkpoint in self.folder.glob("model_[0-9]*.pth"):
            checkpoint.unlink()
        write_json(str(done), {"seconds_of_last_call": round(seconds, 1)})

    def evaluate(self) -> dict[str, Any]:
        """Evaluate unless that is done.

        Returns:
            {data set: {task: {metric: percent}}}.
        """
        from stseg.evaluation import Figures, read_results

        if not self.results.exists():
            opts = [
                *self.settings(),
                *self.spec.evaluation,
                *(text for pair in self.chosen().items() for text in map(str, pair)),
                *("MODEL.WEIGHTS", self.weights),
                *("DATASETS.TEST", f"({self.plan.dataset!r},)"),
                *("OUTPUT_DIR", str(self.results.parent)),
            ]
            self._train_net("--eval-only", opts)
        results = read_results(self.results)
        return {k: {"sem_seg": Figures(r, r.names)} for k, r in results.items()}

    def chosen(self) -> dict[str, Any]:
        """Keys and values of evaluation that the row's chooser found, once and for all.

        It is called as a command with the flags of `benchmarks.seen_offset`, and "keys" of the JSON
        that it writes are taken.

        Raises:
            RuntimeError: if the process fails.
        """
        path = self.folder / "chosen.json"
        if self.spec.chooser and not path.exists():
            self.look(self.spec.chooser, path)
        return json.loads(path.read_text(encoding="utf-8"))["keys"] if self.spec.chooser else {}

    def look(self, module: str, path: Path) -> None:
        """Have a module look at the run's weights, with the flags of `benchmarks.seen_offset`.

        Args:
            module: called as a command.
            path: of the JSON that it writes.

        Raises:
            RuntimeError: if the process fails.
        """
        command = ["-m", module, "--config-file", str(self.config), "--json", str(path)]
        opts = [*self.settings(), "MODEL.WEIGHTS", self.weights]
        self._call([*command, *opts, "DATASETS.TEST", f"({self.plan.dataset!r},)"])

    def verdict(self) -> str:
        """What the guard said in the end; "" for stage 1."""
        path = self.folder / "self_training" / "rounds.json"
        return json.loads(path.read_text(encoding="utf-8"))["verdict"] if path.exists() else ""

    def claim(self) -> None:
        """Write down the settings, or compare them with those of an earlier call.

        Raises:
            ValueError: if the folder holds a run with other settings, or a value is refused.
            KeyError: if a config key does not exist.
        """
        from stseg.checkpoint import write_json
        from stseg.config import setup_cfg

        path = self.folder / "run.json"
        mine = flat_settings(setup_cfg(self.config, self.settings(), device="cpu"))
        if not self.spec.adapts:
            mine = {k: v for k, v in mine.items() if not k.startswith("SELF_TRAINING.")}
        keys, values = self.spec.evaluation[::2], self.spec.evaluation[1::2]
        mine |= {f"in evaluation: {k}": v for k, v in zip(keys, values, strict=True)}
        mine |= {"chooser": self.spec.chooser} if self.spec.chooser else {}
        if path.exists():
            earlier = json.loads(path.read_text(encoding="utf-8"))
            changed = [k for k in mine if k in earlier and mine[k] != earlier[k]]
            if changed:
                was = ", ".join(f"{k} {earlier[k]} (now {mine[k]})" for k in changed[:5])
                raise ValueError(
                    f"{self.folder}: expected a run of the same settings, got one with {was}. "
                    "Delete that folder, or name another --out or --variant."
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(str(path), mine)

    def _train_net(self, flag: str, opts: list[str]) -> float:
        command = [str(ROOT / "train_net.py"), "--config-file", str(self.config)]
        return self._call([*command, "--num-gpus", "0", flag, *opts])

    def _call(self, arguments: list[str]) -> float:
        """Run Python to its end; seconds it took."""
        command = [sys.executable, "-W", "ignore", *arguments]
        environment = {
            **os.environ,
            "DETECTRON2_DATASETS": str(self.plan.data),
            "OMP_NUM_THREADS": str(self.plan.threads),
        }
        log, start = self.folder / "process.txt", time.monotonic()
        with open(log, "ab") as file:
            code = subprocess.run(
                command, stdout=file, stderr=file, env=environment, cwd=ROOT, check=False
            ).returncode
        if code:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            raise RuntimeError(
                f"{self.title}: expected {' '.join(arguments[:2])} to end well, got exit code "
                f"{code}. See {log}, which ends:\n" + "\n".join(tail)
            )
        return time.monotonic() - start


def flat_settings(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """All keys of a config with their values as text, without what may differ between calls."""
    flat: dict[str, str] = {}
    for key, value in cfg.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flat_settings(value, f"{name}."))
        elif name not in ("OUTPUT_DIR", "MODEL.WEIGHTS", "DATASETS.TEST", "MODEL.DEVICE"):
            flat[name] = repr(value)
    return flat
