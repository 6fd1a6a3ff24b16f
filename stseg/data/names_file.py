"""What a file of class names says about the label maps that go with it."""

import json
from pathlib import Path
from typing import Any


def ignore_label(names_file: Path, num_classes: int) -> int:
    """The id in label files that carries no class.

    Args:
        names_file: .txt or .json that `Vocabulary.parse` reads. A JSON object may hold "ignore".
        num_classes: ids below it are classes.

    Returns:
        The file's "ignore"; without one 255, or 65535 where 255 is a class.

    Raises:
        ValueError: if "ignore" is not a whole number.
    """
    settings = settings_of(names_file)
    if "ignore" not in settings:
        return 255 if num_classes <= 255 else 65535
    value = settings["ignore"]
    if not isinstance(value, int):
        raise ValueError(f'{names_file}: expected a whole number at "ignore", got {value!r}.')
    return value


def settings_of(names_file: Path) -> dict[str, Any]:
    """Everything in a names file that is a JSON object, {} for others."""
    if names_file.suffix.lower() != ".json":
        return {}
    content = json.loads(names_file.read_text(encoding="utf-8-sig"))
    return content if isinstance(content, dict) else {}
