"""The figures of a benchmark as files and tables."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stseg.utils import write_atomically


def write_report(path: Path | None, report: Any) -> None:
    """Write JSON and say where; nothing for None. The folder is made if missing."""
    write_text(path, json.dumps(report, indent=2))


def write_text(path: Path | None, text: str) -> None:
    """Write text and say where; nothing for None. The folder is made if missing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    print(f"\nWritten to {path}")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, its columns lined up to the right."""
    cells = [[str(cell) for cell in line] for line in (heads, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
    return "\n".join(lines)


def origin(module: str, argv: list[str]) -> dict:
    """What a report says of where it comes from."""
    import torch

    return {
        "command": ["python", "-m", module, *argv],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
