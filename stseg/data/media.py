"""What a user points at: files, folders and globs of images and videos."""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stseg.data.folder_files import files_of, tell_left_out
from stseg.data.image_io import IMAGE_SUFFIXES
from stseg.utils import irregular_kind

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def is_video(path: Path) -> bool:
    """Whether a file counts as a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_media(
    inputs: Sequence[str],
    what: str = "--input",
    *,
    recursive: bool = False,
    without: Path | None = None,
) -> list[Path]:
    """Images and videos behind files, folders and globs, each once, in order.

    A file is taken whatever its suffix; of a folder or a glob only what looks like an image or a
    video, and a warning says what else lies there.

    Args:
        inputs: as a person writes them.
        what: they are, for messages.
        recursive: of folders, also what lies in folders below, see `files_of`.
        without: a folder that is left out with all below it.

    Raises:
        FileNotFoundError: for an input that leads to nothing; names it.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            kinds = IMAGE_SUFFIXES + VIDEO_SUFFIXES
            matches = files_of(path, kinds, recursive=recursive, without=without)
        elif path.is_file() or irregular_kind(path):  # which reading it names
            matches = [path]
        else:
            matches = [p for p in _glob(str(path)) if not p.is_dir()]
            others = Counter(p.suffix.lower() for p in matches if not _looks_like_media(p))
            matches = [p for p in matches if _looks_like_media(p)]
            if others and matches:
                tell_left_out(text, others)
        if not matches:
            kinds_text = " ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
            raise FileNotFoundError(
                f"{what}: expected a file, a folder or a pattern with images or videos "
                f"({kinds_text}), got {text!r}, where none was found."
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def _glob(pattern: str) -> list[Path]:
    """What a pattern leads to, in order; "**" stands for any folders, but for those behind links.

    glob's own goes round in a circle of links for ever.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(text) for text in sorted(glob.glob(pattern))]
    at = parts.index("**")
    roots = glob.glob(os.path.join("", *parts[:at])) if at else ["."]
    tail = os.path.join(*parts[at:], *(["*"] if parts[-1] == "**" else []))
    found = []
    for root in sorted(roots):
        below = [path.relative_to(root) for path in Path(root).glob(tail)]
        shown = [p for p in below if not any(part.startswith(".") for part in p.parts)]
        found += sorted(Path(root, p) for p in shown)
    return found


def _looks_like_media(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES


def unique_stems(paths: Sequence[Path], inputs: Sequence[str] = ()) -> list[str]:
    """One output stem per file, so that no two files write to the same place.

    Names differ without regard to case, as on Windows and macOS; those of a video leave room for
    its frames (`<stem>_000123`).

    Args:
        paths: of `find_media`.
        inputs: what they were found behind; files below one of these folders keep their place
            below it, as "folder/stem".
    """
    roots = [path for text in inputs if (path := Path(text).expanduser()).is_dir()]
    taken: set[str] = set()
    stems = []
    # Images first: a video can give way to a picture that is called like one of its frames.
    for path in sorted(paths, key=is_video):
        root = next((root for root in roots if path.is_relative_to(root)), path.parent)
        place = path.relative_to(root).with_suffix("").as_posix()
        stem, number = place, 1
        while _is_taken(stem, taken, is_video(path)):
            number += 1
            stem = f"{place}-{number}"
        taken.add(stem.casefold())
        stems.append((path, stem))
    by_path = dict(stems)
    return [by_path[path] for path in paths]


def _is_taken(stem: str, taken: set[str], video: bool) -> bool:
    frame = re.compile(re.escape(stem.casefold()) + r"_\d{6}")
    return stem.casefold() in taken or (video and any(frame.fullmatch(name) for name in taken))
