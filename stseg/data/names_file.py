"""What a file of class names says about the label maps that go with it."""

from pathlib import Path
from typing import Any

from stseg.utils import read_json


def settings_of(names_file: Path) -> dict[str, Any]:
    """Everything in a names file that is a JSON object, {} for others.

    Args:
        names_file: .txt or .json that `Vocabulary.parse` reads.
    """
    if names_file.suffix.lower() != ".json":
        return {}
    content = read_json(names_file, "Names file")
    return content if isinstance(content, dict) else {}
