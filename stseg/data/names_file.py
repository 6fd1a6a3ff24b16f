"""What a file of class names says about the label maps that go with it."""

from pathlib import Path

from stseg.utils import read_json


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
    if names_file.suffix.lower() == ".json":
        content = read_json(names_file, "Names file")
        if isinstance(content, dict) and "ignore" in content:
            value = content["ignore"]
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(
                    f'{names_file}: expected a whole number at "ignore", got {value!r}.'
                )
            return value
    return 255 if num_classes <= 255 else 65535
