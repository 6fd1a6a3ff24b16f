"""What makes two spellings one name: case, blanks, hyphens, Unicode, and the plural."""

from __future__ import annotations

import re
import unicodedata

_ARTICLE = re.compile(r"(?:a|an|the)\s+(?=\S)", re.IGNORECASE)
#: Kinds of Unicode: dashes and connectors such as "_", which stand for a blank; and what is not
#: seen at all, such as a zero-width space.
_AS_BLANK, _UNSEEN = ("Pd", "Pc"), ("Cf",)
#: An ending of the plural and what the singular has in its place; the first that fits.
_PLURALS = (
    (re.compile(r"(?<=[a-z]{2})ies$"), "y"),
    (re.compile(r"(?<=ch|sh|ss)es$"), ""),
    (re.compile(r"(?<=x)es$"), ""),
    (re.compile(r"(?<=[a-z]{2}[^sui])s$"), ""),
)


def plain_form(name: str) -> str:
    """The letters that tell a name from another one.

    Returns:
        NFKC, in small letters, hyphens and underscores as blanks, blanks single; without what
        cannot be seen, and without a full stop at the end.
    """
    letters = (
        " " if unicodedata.category(letter) in _AS_BLANK else letter
        for letter in unicodedata.normalize("NFKC", name)
        if unicodedata.category(letter) not in _UNSEEN
    )
    return " ".join("".join(letters).casefold().split()).rstrip(".").rstrip()


def singular_form(name: str) -> str:
    """`plain_form` with the last word in the singular, by English rules of spelling alone."""
    plain = plain_form(name)
    for ending, instead in _PLURALS:
        if ending.search(plain):
            return ending.sub(instead, plain)
    return plain


def leading_article(name: str) -> str:
    """The article that a name begins with, "" for none."""
    found = _ARTICLE.match(name)
    return found[0].strip() if found else ""


def has_unseen(name: str) -> bool:
    """Whether a name holds characters that nobody sees, such as a zero-width space."""
    return any(unicodedata.category(letter) in _UNSEEN for letter in name)
