"""From what a person gives as names, text or a file, to the entries that stand there.

The standard library only.
"""

import os
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stseg.utils import did_you_mean, read_json, read_text

_LIST_DIR = Path(__file__).parents[1] / "data" / "datasets" / "vocab"
LIST_PREFIX = "vocab:"
_SUFFIXES = (".txt", ".json")
#: What nobody would call a thing, but many a file: a path with its beginning, or with a suffix.
_LIKE_A_FILE = re.compile(
    r"(~|\.{1,2})?[/\\].*|[a-z]:[/\\].*|.*[/\\]|\S+\.[a-z]{2,5}"
    r"|.*\.(csv|tsv|ya?ml|xml|xlsx?|docx?|md|log|names|png|jpe?g|pdf)",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[,;|/\\、，；。・·•]|(?<=\s)\.(?=\s|$)")
_ALONE = re.compile(r"\.(?=\s)|[+&:]")


def shipped_lists() -> tuple[str, ...]:
    """Names of the lists that ship, for "vocab:<list>"."""
    return tuple(sorted(path.stem for path in _LIST_DIR.glob("*.json")))


def is_shipped(source: Any) -> bool:
    """Whether a source is "vocab:<list>"."""
    return isinstance(source, str) and source.strip().startswith(LIST_PREFIX)


def written_entries(source: str | PathLike[str]) -> tuple[list[Any], bool]:
    """The class entries of a source as they stand there, for those who look for faults.

    Args:
        source: text, path or "vocab:<list>", as `Vocabulary.parse` takes it.

    Returns:
        One for each class, texts or lists where the source is sound, unchecked; and whether the
        source allows two classes of one display name.

    Raises:
        ValueError: if a file is not text, or no JSON, or holds no list of classes.
        FileNotFoundError: if there is no such file or list.
    """
    path = file_of(source)
    content = split_text(str(source)) if path is None else content_of(path)
    entries = classes_of(content)
    if not isinstance(entries, list):
        raise ValueError(f"Vocabulary: expected a list of classes, got {type(entries).__name__}.")
    return entries, isinstance(content, dict) and bool(content.get("allow_shared_names", False))


def file_of(source: str | PathLike[str]) -> Path | None:
    """The file that a source stands for, None for words.

    Raises:
        FileNotFoundError: for a list that does not ship.
        ValueError: for text that can be no words: a path of another kind, or JSON.
    """
    if not isinstance(source, str):
        return Path(source)
    text = source.strip()
    if is_shipped(text):
        return _shipped_list(text)
    if text.lower().endswith(_SUFFIXES) and "\n" not in text:
        return Path(text)
    if text[:1] in ("[", "{") and text[-1:] in ("]", "}"):
        raise ValueError(
            'Vocabulary: expected words such as "cat; dog", or a .txt or .json file, got text in '
            f"brackets, {text[:40]!r}. Write the words alone, or put JSON into a .json file."
        )
    if "\n" not in text and ";" not in text and (_LIKE_A_FILE.fullmatch(text) or _is_file(text)):
        raise ValueError(
            'Vocabulary: expected words such as "cat; dog", or a .txt file (one class a line) or '
            f".json file, got {text!r}, which looks like another file or a folder."
        )
    return None


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(text)
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _shipped_list(source: str) -> Path:
    """The file of "vocab:<list>"."""
    stem = source.removeprefix(LIST_PREFIX).strip()
    known = shipped_lists()
    if stem not in known:
        raise FileNotFoundError(
            f"Vocabulary: expected {LIST_PREFIX} with one of {', '.join(known)}, got {source!r}."
            f"{did_you_mean(stem, known)}"
        )
    return _LIST_DIR / f"{stem}.json"


def split_text(text: str) -> list[str]:
    """One entry per class out of text; blank lines part nothing, nor does a semicolon at an end."""
    # Not `splitlines`, which also parts at what editors show as a blank, such as U+2028.
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    ends = (line[:-1] if line.endswith(";") and line != ";" else line for line in lines)
    return [entry for line in ends for entry in line.split(";")]


def content_of(path: Path) -> Any:
    """The entries of a text file, or whatever a JSON file holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither .txt nor .json, no text in UTF-8, or no JSON.
    """
    path = Path(str(path).strip())
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            "Vocabulary: expected a .txt file (one class a line, commas part synonyms) or a .json "
            f"file, got {str(path)!r}. Save the names as one of these."
        )
    if path.suffix.lower() == ".json":
        return read_json(path, "Vocabulary")
    text = read_text(path, "Vocabulary")
    lines = re.split(r"\r\n|\r|\n", text)
    return split_text("\n".join(line for line in lines if not line.lstrip().startswith("#")))


def classes_of(content: Any) -> Any:
    """The list of entries in what a file holds."""
    if not isinstance(content, dict):
        return content
    if "classes" not in content:
        raise ValueError(
            f'Vocabulary: expected a list or an object with "classes", got keys {list(content)}.'
        )
    return content["classes"]


def separator_in(name: str, is_alone: bool = False) -> str:
    """What in a name seems to part several, "" for nothing.

    Args:
        name: of a class.
        is_alone: it is the only one, so that "cat. dog" is hardly one of "St. Bernard"'s kind.
    """
    found = _SEPARATOR.search(name) or (_ALONE.search(name) if is_alone else None)
    return found[0] if found else ""


def likely_mistakes(synonyms: Sequence[Sequence[str]]) -> list[str]:
    """What is legal in a list of names but most likely not meant, a sentence each.

    Args:
        synonyms: of every class.
    """
    cure = "Semicolons or new lines part classes, commas part synonyms."
    notes, alone = [], len(synonyms) == 1
    if alone and len(synonyms[0]) > 1:
        notes.append(f"{', '.join(synonyms[0])} are synonyms of ONE class. {cure}")
    names = [name for group in synonyms for name in group]
    parted = {name: sign for name in names if (sign := separator_in(name, alone))}
    for name, sign in list(parted.items())[:5]:
        notes.append(f"{name!r} is ONE name: {sign!r} parts nothing. {cure}")
    if len(parted) > 5:
        notes.append(f"{len(parted) - 5} more names hold such signs.")
    if alone and len(names) == 1 and _is_there(names[0]):
        notes.append(f"{names[0]!r} is taken as a word, and is the name of a file or folder, too.")
    return notes


def _is_there(text: str) -> bool:
    try:
        return os.path.exists(text)
    except (OSError, ValueError):
        return False
