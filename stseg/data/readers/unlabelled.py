"""The images of any folder. Files that cannot be decoded are left out."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from stseg.data.folder_files import files_of
from stseg.data.image_io import IMAGE_SUFFIXES, read_image
from stseg.data.readers.label_cache import in_threads

Skipped = list[tuple[str, str]]
# Beside broken files: rare modes and damaged EXIF fields that Pillow meets after decoding.
_UNREADABLE = (OSError, ValueError, SyntaxError, struct.error, MemoryError)


def list_images(
    folder: str | Path, *, recursive: bool = False
) -> tuple[list[dict[str, Any]], Skipped]:
    """Find the images of a folder and decode each of them once, completely.

    Args:
        folder: relative paths start at the working directory. Other files in it do no harm, and are
            counted in the log.
        recursive: look into folders below, too; hidden ones are left out.

    Returns:
        Records with "file_name" in the order of their paths, and the files left out, each as
        (path, reason), in that order, too.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no image, or none that can be decoded; names folder and suffixes.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError(
            f"Images: expected a folder, got {str(folder)!r}, which is none ({root})."
        )
    paths = sorted(map(str, files_of(root, IMAGE_SUFFIXES, recursive=recursive)))
    if not paths:
        raise ValueError(_nothing_found(root, recursive))
    reasons = in_threads(_why_unreadable, paths, "checking images")
    skipped = [(path, why) for path, why in zip(paths, reasons, strict=True) if why]
    records = [{"file_name": path} for path, why in zip(paths, reasons, strict=True) if not why]
    if not records:
        raise ValueError(
            f"Images: expected at least one that can be decoded in {root}, got {len(skipped)} "
            f"broken files. The first: {skipped[0][1]}"
        )
    return records, skipped


def _nothing_found(root: Path, recursive: bool) -> str:
    if not recursive and files_of(root, IMAGE_SUFFIXES, recursive=True):
        where = "got them only in folders below. Give one of those folders."
    else:
        files = sum(len(names) for _, _, names in os.walk(root))
        where = f"got none among {files} files." if files else "got an empty folder."
    return f"Images: expected images ({' '.join(IMAGE_SUFFIXES)}) in {root}, {where}"


def _why_unreadable(path: str) -> str:
    """What is wrong with an image, "" if nothing."""
    try:
        read_image(path)
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return ""
