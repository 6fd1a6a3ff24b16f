"""Texts as people make them: files in any encoding, JSON of any depth, names that look alike."""

import difflib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

#: As iconv calls them.
_ICONV = {"GBK (GB 18030)": "gb18030", "UTF-16": "utf-16", "Latin-1 (Windows-1252)": "cp1252"}


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """A text file in UTF-8, with or without the mark that Windows editors write in front.

    Args:
        path: of the file.
        what: it is, for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, or no UTF-8; says which encoding it looks like.
    """
    path = Path(path)
    if not path.is_file():
        is_other, kind = path.exists(), "folder" if path.is_dir() else "special file"
        problem = f"{what}: expected a text file, got "
        if is_other:
            raise ValueError(f"{problem}the {kind} {str(path)!r}. Name a file.")
        raise FileNotFoundError(f"{problem}{str(path)!r}, which does not exist.")
    raw = path.read_bytes()
    looks_like = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "")
    if not looks_like and b"\0" in raw:
        looks_like = "UTF-16" if raw[:512].count(b"\0") * 3 > len(raw[:512]) else "no text at all"
    if not looks_like:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            looks_like = _guessed(raw)
    cure = "Name another file." if looks_like.startswith("no ") else "Save it anew as UTF-8."
    if looks_like in _ICONV:
        cure = f"Save it anew as UTF-8, by iconv -f {_ICONV[looks_like]} -t utf-8."
    raise ValueError(
        f"{what}: expected text in UTF-8, got {str(path)!r}, which looks like {looks_like}. {cure}"
    )


def _guessed(raw: bytes) -> str:
    """Chinese text has its bytes above 127 in pairs, others mostly single ones."""
    runs = re.findall(rb"[\x80-\xff]+", raw)
    if any(len(run) % 2 for run in runs):
        return "Latin-1 (Windows-1252)"
    try:
        raw.decode("gb18030")
    except UnicodeDecodeError:
        return "no text at all"
    return "GBK (GB 18030)"


def parse_json(text: str | bytes) -> Any:
    """JSON's content; ValueError also where it is nested deeper than Python goes."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """The content of a JSON file; see `read_text`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no JSON; names the file.
    """
    text = read_text(path, what)
    try:
        return parse_json(text)
    except ValueError as error:
        got = f"text that is not: {error}" if text.strip() else "an empty file"
        raise ValueError(f"{what}: expected JSON, got {str(path)!r}: {got}.") from error


def nearest(given: object, known: Iterable[str], most: int = 1) -> list[str]:
    """The known words that are near enough to be what was meant, whatever their case."""
    folded = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(str(given).casefold(), folded, n=most, cutoff=0.55)
    return [folded[word] for word in near]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """The sentence about `nearest`, with a blank in front of it; "" for none."""
    near = nearest(given, known)
    return f" Did you mean {near[0]}?" if near else ""


def name_key(name: str) -> str:
    """What two spellings of one name have in common.

    Returns:
        NFKC without what cannot be seen (zero-width blanks, marks of direction), in small letters,
        blanks single.
    """
    letters = unicodedata.normalize("NFKC", name)
    seen = "".join(x for x in letters if unicodedata.category(x) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())


def spelling_on_disk(path: Path) -> Path | None:
    """A file under the path, or under another Unicode form of it; None where there is none.

    Macs write the letter and its accent apart (NFD), most others as one (NFC).
    """
    forms = (str(path), *(unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD")))
    return next((Path(form) for form in forms if os.path.isfile(form)), None)


def same_name(name: str) -> str:
    """A file's name in the one Unicode form (NFC) by which names are compared."""
    return unicodedata.normalize("NFC", name)
