"""The prompts that a model puts names into."""

import json
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "assets" / "templates"


@cache
def _shipped() -> dict[str, tuple[str, ...]]:
    files = sorted(_FOLDER.glob("*.json"))
    return {f.stem: tuple(json.loads(f.read_text(encoding="utf-8"))["templates"]) for f in files}


def load_templates(*entries: str) -> tuple[str, ...]:
    """Gather prompt templates, as MODEL.TEXT.TEMPLATES lists them.

    Args:
        entries: each a shipped set, "imagenet_80" (the 80 of CLIP's ImageNet protocol, used by the
            paper), "vild_14" (the 14 of ViLD, ICLR 2022, used by EBSeg) or "single", or a template,
            text with one "{}" for the name.

    Returns:
        P templates, in order.

    Raises:
        ValueError: if there is none, or one is neither.
    """
    found: list[str] = []
    for entry in entries:
        if entry not in _shipped() and entry.count("{}") != 1:
            raise ValueError(
                f"MODEL.TEXT.TEMPLATES: expected {', '.join(_shipped())} or texts with exactly one "
                f"'{{}}', got {entry!r}."
            )
        found += _shipped().get(entry, (entry,))
    if not found:
        raise ValueError("MODEL.TEXT.TEMPLATES: expected at least one template, got none.")
    return tuple(found)
