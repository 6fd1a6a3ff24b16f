"""What a file of class names says about the label maps that go with it."""

import json
from pathlib import Path
from typing import Any


def settings_of(names_file: Path) -> dict[str, Any]:
    """Everything in a names file that is a JSON object, {} for others.

    Args:
        names_file: .txt or .json that `Vocabulary.parse` reads.
    """
    if names_file.suffix.lower() != ".json":
        return {}
    content = json.loads(names_file.read_text(encoding="utf-8-sig"))
    return content if isinstance(content, dict) else {}
