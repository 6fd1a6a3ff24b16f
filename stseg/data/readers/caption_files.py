"""Images with captions in plain files: a table of paths and captions, or a text for each image."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stseg.data.folder_files import files_of
from stseg.data.image_io import IMAGE_SUFFIXES
from stseg.data.opening import BrokenFileError
from stseg.utils import did_you_mean, parse_json

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
#: Headings that are taken where none is named, in this order.
_IMAGE_COLUMNS = ("image", "file", "filepath", "path", "file_name", "filename", "image_path")
_CAPTION_COLUMNS = ("caption", "title", "text")
# So many images of a table are looked for at once: where none is there, the folder is wrong.
_FIRST_FEW = 100


def caption_of(raw: bytes, name: str) -> str:
    """The caption that a file holds, without blanks around it.

    Args:
        raw: the content, in UTF-8.
        name: of the file; of a .json the caption is "caption".

    Raises:
        BrokenFileError: if there is none.
    """
    try:
        text = raw.decode("utf-8-sig")
        if name.lower().endswith(".json"):
            text = parse_json(text)["caption"]
        return _checked(text)
    except (ValueError, LookupError, TypeError) as error:
        raise _no_caption(name, error) from error


def _checked(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"got {text!r}")
    text.encode("utf-8")  # what is no UTF-8 no tokenizer takes
    return text.strip()


def _no_caption(name: str, error: Exception) -> BrokenFileError:
    return BrokenFileError(
        f"Caption {name}: expected a text in UTF-8, got none ({error}). Write one, or take it out."
    )


class FolderPairs:
    """The images of a folder, and of those below, that have a .txt of the same name beside them."""

    def __init__(self, folder: Path) -> None:
        """List the files; none is opened.

        Args:
            folder: must exist.
        """
        self._folder = str(folder)
        paths = map(str, files_of(folder, (*IMAGE_SUFFIXES, ".txt"), recursive=True))
        named = [(path, *os.path.splitext(os.path.relpath(path, folder))) for path in paths]
        texts = {stem for _, stem, suffix in named if suffix == ".txt"}
        images = [(stem, suffix) for _, stem, suffix in named if suffix.lower() in IMAGE_SUFFIXES]
        kept = [os.fsencode(stem + suffix) for stem, suffix in images if stem in texts]
        self._names = np.array(kept, dtype=np.bytes_)
        self.incomplete = len(images) - len(kept) + len(texts.difference(s for s, _ in images))

    def __len__(self) -> int:
        return len(self._names)

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return self._names.nbytes

    def read(self, index: int) -> dict[str, Any]:
        """A pair; see `PairIndex`."""
        path = self._path(index)
        text = f"{os.path.splitext(path)[0]}.txt"
        with open(text, "rb") as file:
            return {"file_name": path, "caption": caption_of(file.read(), text)}

    def place(self, index: int) -> str:
        """The folder that a pair lies in."""
        return os.path.dirname(self._path(index))

    def _path(self, index: int) -> str:
        return os.path.join(self._folder, os.fsdecode(self._names[index]))


class TablePairs:
    """The rows of a CSV or TSV with a heading, or of a JSONL, of which a path and a caption count.

    Only where rows begin is kept; a row is read when it is asked for.
    """

    def __init__(
        self, path: Path, folder: Path, image_column: str = "", caption_column: str = ""
    ) -> None:
        """Go through the file once.

        Args:
            path: of the table, in UTF-8; a .tsv has tabs between cells, a .csv commas, and a .jsonl
                an object per line, all with the keys of the first.
            folder: where the paths in it start.
            image_column: heading of the paths, "" for one that is usual.
            caption_column: likewise of the captions.

        Raises:
            ValueError: if the headings are not there, or the file is no table.
            FileNotFoundError: if none of the first images is there.
        """
        self._path, self._folder = str(path), str(folder)
        self._keys: list[str] = []
        self.incomplete, starts = 0, []
        with open(path, "rb") as file:
            try:
                headings = self._read_headings(file)
                self._image = self._column(headings, image_column, "image_column", _IMAGE_COLUMNS)
                self._caption = self._column(
                    headings, caption_column, "caption_column", _CAPTION_COLUMNS
                )
                for start, cells in self._rows(file):
                    if all(self._cells(cells)):
                        starts.append(start)
                    else:
                        self.incomplete += bool(cells)
            except (csv.Error, json.JSONDecodeError) as error:
                raise ValueError(
                    f"Table {path}: expected rows of cells, got what is none before byte "
                    f"{file.tell()} ({error}). Is a quotation mark left open there?"
                ) from error
        self._starts = np.array(starts, dtype=np.int64)
        self._check_folder()

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def nbytes(self) -> int:
        """Memory of the index."""
        return self._starts.nbytes

    def read(self, index: int) -> dict[str, Any]:
        """A pair; see `PairIndex`."""
        try:
            image, caption = self._row(index)
            return {"file_name": os.path.join(self._folder, image), "caption": _checked(caption)}
        except (ValueError, csv.Error) as error:
            raise _no_caption(f"{self._path}, byte {self._starts[index]}", error) from error

    def place(self, index: int) -> str:
        """The table, whatever folder the image lies in."""
        return self._path

    def _row(self, index: int) -> tuple[str, str]:
        with open(self._path, "rb") as file:
            file.seek(self._starts[index])
            return self._cells(next(self._rows(file), (0, []))[1])

    def _cells(self, cells: list[str]) -> tuple[str, str]:
        """Path and caption, "" for what is not there."""
        at = self._image, self._caption
        image, caption = (cells[i].strip() if i < len(cells) else "" for i in at)
        return image, caption

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        """Where each row begins, and its cells; no line is read that does not belong to it."""
        lines = (line.decode("utf-8", "surrogateescape") for line in iter(file.readline, b""))
        start, suffix = file.tell(), os.path.splitext(self._path)[1].lower()
        rows: Iterator[list[str]]
        if suffix == ".jsonl":
            rows = (self._values(line) for line in lines)
        else:
            rows = csv.reader(lines, delimiter="\t" if suffix == ".tsv" else ",")
        for cells in rows:
            yield start, cells
            start = file.tell()

    def _read_headings(self, file: BinaryIO) -> list[str]:
        """The file goes on behind them: of a JSONL at its first line, which is a row, too."""
        if not self._path.lower().endswith(".jsonl"):
            cells = next(self._rows(file), (0, []))[1]
            return [cell.lstrip("\ufeff").strip() for cell in cells]
        first = json.loads(file.readline() or b"{}")
        file.seek(0)
        self._keys = list(first) if isinstance(first, dict) else []
        return self._keys

    def _values(self, line: str) -> list[str]:
        """Texts of a line's object, none where it is blank or holds something else."""
        content = json.loads(line) if line.strip() else None
        return (
            [str(content.get(key) or "") for key in self._keys] if isinstance(content, dict) else []
        )

    def _column(self, headings: list[str], given: str, key: str, usual: tuple[str, ...]) -> int:
        folded = [heading.casefold() for heading in headings]
        wanted = (given.casefold(),) if given else usual
        found = next((folded.index(name) for name in wanted if name in folded), None)
        if found is None:
            raise ValueError(
                f"Table {self._path}: expected a column {' or '.join(wanted)} in its first line, "
                f"got {', '.join(headings[:10]) or 'an empty one'}. Give {key}=HEADING."
                f"{did_you_mean(given, headings) if given else ''}"
            )
        return found

    def _check_folder(self) -> None:
        few = [self._row(i)[0] for i in range(min(len(self), _FIRST_FEW))]
        paths = [os.path.join(self._folder, image) for image in few]
        if paths and not any(map(os.path.exists, paths)):
            raise FileNotFoundError(
                f"Table {self._path}: expected the images that it names, got nothing at "
                f"{paths[0]}, nor at the next {len(paths) - 1}. Give images=FOLDER where its paths "
                "start; the folder of the table is taken without."
            )
