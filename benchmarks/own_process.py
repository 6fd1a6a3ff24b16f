"""A case of a benchmark in a fresh process, so that no other one's memory or caches are in it."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def measured_apart(module: str, case: Any, title: str, python: str = sys.executable) -> dict:
    """The figures of a case.

    Args:
        module: run as `python -m module CASE.json RESULT.json`.
        case: dataclass instance with the field "threads".
        title: of the case, for messages.
        python: interpreter, this one unless the case needs another.

    Raises:
        RuntimeError: with the end of its messages, if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, result = Path(folder) / "case.json", Path(folder) / "result.json"
        wanted.write_text(json.dumps(dataclasses.asdict(case)))
        command = [python, "-m", module, str(wanted), str(result)]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(case.threads),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        if done.returncode or not result.is_file():
            raise RuntimeError(f"{title}: exit status {done.returncode}. {done.stderr[-2000:]}")
        return json.loads(result.read_text())
