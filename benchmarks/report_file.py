"""The figures of a benchmark as a file."""

import json
from pathlib import Path
from typing import Any

from stseg.files import write_atomically


def write_report(path: Path | None, report: Any) -> None:
    """Write JSON and say where; nothing for None. The folder is made if missing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(report, indent=2).encode())
    print(f"\nWritten to {path}")
