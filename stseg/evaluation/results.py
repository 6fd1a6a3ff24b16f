"""Result files that describe themselves, so that two figures are compared only where they may be.

A JSON file with what was scored and how ("protocol"), the figures, and where they come from
("provenance"). NumPy and the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from stseg.evaluation.confusion import ConfusionMatrix
from stseg.utils import parse_json, write_atomically

FORMAT = "stseg.evaluation"
SCHEMA_VERSION = 2

#: Fields of the protocol that say nothing where they are None.
_OPTIONAL = ("data_set", "seen", "interest")


@dataclass(frozen=True)
class Protocol:
    """What decides whether two figures may be compared.

    Attributes:
        num_images: scored.
        image_list: SHA-256 of the sorted names of the images.
        truth: SHA-256 of the scored pixels of every class: label maps prepared in another way
            differ here.
        num_classes: N.
        vocabulary: SHA-256 of the N names in their order.
        ignore: ids in the label files that are not scored, sorted.
        fold_background: whether predictions from N - 1 on count as N - 1 (VOC-20b).
        data_set: name, None where it was not stated.
        seen: SHA-256 of the marks of the seen classes; None without marks.
        interest: likewise of the classes of interest.
    """

    num_images: int
    image_list: str
    truth: str
    num_classes: int
    vocabulary: str
    ignore: tuple[int, ...]
    fold_background: bool = False
    data_set: str | None = None
    seen: str | None = None
    interest: str | None = None


@dataclass(frozen=True)
class Result:
    """All that a result file holds.

    Attributes:
        protocol: see there.
        figures: name to a fraction in [0, 1]; NaN where undefined.
        definitions: name of a figure to its meaning in words.
        classes: a row per class in the order of the ids: "id", "name", "iou", "accuracy",
            "precision" (fractions or NaN), "truth" and "predicted" (pixels), "taken_for" (id of
            the class it is mostly mistaken for) with "taken_pixels", and, where known, "seen"
            (bool) and "boundary_iou".
        confusions: the costliest first: "true" and "predicted" (ids), "pixels", "share" of the
            true class's pixels.
        images: per image "name" and its "mIoU_gt" and "pACC", in the order of the names.
        bootstrap: "level", "seed", "intervals" (figure to [low, high]) and "means" (figure to what
            `Bootstrap.means` said); empty where not computed.
        similarity: what the open figures gave credit for: "true" and "predicted" (ids of two
            classes) with "credit" in (0, 1], each a column; empty where not asked for.
        provenance: "versions", "command", "created", "weights" (SHA-256 or None), and paths.
    """

    protocol: Protocol
    figures: dict[str, float]
    definitions: dict[str, str]
    classes: list[dict[str, Any]]
    confusions: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    bootstrap: dict[str, Any] = field(default_factory=dict)
    similarity: dict[str, list[Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The N class names."""
        return [row["name"] for row in self.classes]


def make_protocol(
    matrix: ConfusionMatrix,
    *,
    names: Sequence[str],
    images: Iterable[str],
    ignore: Iterable[int],
    fold_background: bool = False,
    data_set: str | None = None,
    seen: Sequence[bool] | np.ndarray | None = None,
    interest: Sequence[bool] | np.ndarray | None = None,
) -> Protocol:
    """Gather and hash.

    Args:
        matrix: counts over all images; its rows are the truth.
        names: N class names in the order of the ids.
        images: names of the scored images, in any order.
        ignore: ids in the label files that are not scored.
        fold_background: see `Protocol`.
        data_set: name, if there is one.
        seen: N marks of seen classes.
        interest: N marks of classes of interest.

    Raises:
        ValueError: if the number of names or marks is not N.
    """
    for what, values in (("names", names), ("seen", seen), ("interest", interest)):
        if values is not None and len(values) != matrix.num_classes:
            raise ValueError(f"{what}: expected {matrix.num_classes}, got {len(values)}.")
    listed = sorted(images)
    return Protocol(
        num_images=len(listed),
        image_list=_hash(listed),
        truth=_hash(matrix.counts.sum(axis=1).tolist()),
        num_classes=matrix.num_classes,
        vocabulary=_hash(list(names)),
        ignore=tuple(sorted({int(i) for i in ignore})),
        fold_background=fold_background,
        data_set=data_set,
        seen=None if seen is None else _hash([bool(mark) for mark in seen]),
        interest=None if interest is None else _hash([bool(mark) for mark in interest]),
    )


def make_provenance(
    *,
    command: Sequence[str] | None = None,
    weights: str | PathLike[str] | None = None,
    packages: Sequence[str] = ("stseg", "numpy", "pillow"),
    **paths: str | PathLike[str] | None,
) -> dict[str, Any]:
    """Where a result comes from.

    Args:
        command: words of the command line; by default this process's.
        weights: file of the model, to be hashed.
        packages: whose versions count, by their names on the package index.
        **paths: folders and files to remember, such as `pred` and `gt`; made absolute.
    """
    return {
        "command": shlex.join(sys.argv if command is None else command),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in packages},
        "weights": None if weights is None else file_hash(weights),
        **{key: str(Path(path).absolute()) for key, path in paths.items() if path is not None},
    }


def file_hash(path: str | PathLike[str]) -> str:
    """SHA-256 of a file, read in pieces; once for as long as the file stays as it is."""
    status = os.stat(path)
    return _file_hash(os.fspath(path), status.st_size, status.st_mtime_ns)


@lru_cache
def _file_hash(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_result(path: str | PathLike[str], result: Result) -> None:
    """Write one result, see `write_results`."""
    write_results(path, {result.protocol.data_set or "": result})


def write_results(
    path: str | PathLike[str],
    results: Mapping[str, Result],
    others: Mapping[str, Any] | None = None,
) -> None:
    """Write as JSON, whole or not at all; what is not a number becomes null.

    Args:
        path: of the file; its folder is made if missing.
        results: by the name of the data set, "" where it has none.
        others: what evaluators of other tasks found: {data set: {task: {metric: value}}}.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "results": {name: asdict(result) for name, result in results.items()},
        "others": others or {},
    }
    text = json.dumps(_plain(content), indent=1, ensure_ascii=True, allow_nan=False)
    write_atomically(path, text.encode("ascii") + b"\n")


def read_result(path: str | PathLike[str], data_set: str | None = None) -> Result:
    """Read one result out of a file of `write_results`; null figures become NaN.

    Args:
        path: of the file.
        data_set: its name; None where the file holds one result only.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as `read_results`, and if the data set is not the file's, or not named where the
            file holds several.
    """
    results = read_results(path)
    if data_set is None and len(results) == 1:
        return next(iter(results.values()))
    if data_set not in results:
        known = ", ".join(name or "(without a name)" for name in results) or "none"
        raise ValueError(f"{path}: expected one of its data sets ({known}), got {data_set!r}.")
    return results[data_set]


def read_results(path: str | PathLike[str]) -> dict[str, Result]:
    """Read all results of a file; null figures become NaN.

    Returns:
        By the name of the data set, "" where it has none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, or of a later version; names the file.
    """
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:  # of JSON and of encodings
        raise ValueError(f"{path}: expected a result file (JSON), got {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f'{path}: expected a result file with "format": "{FORMAT}", got another. '
            "Write one with `python -m stseg.evaluation score --output`."
        )
    if content.get("schema_version") not in (1, SCHEMA_VERSION):
        raise ValueError(
            f"{path}: expected schema version {SCHEMA_VERSION}, got "
            f"{content.get('schema_version')!r}. Read it with the stseg that wrote it."
        )
    try:
        if content["schema_version"] == 1:  # one result, not yet by name
            return {content["protocol"].get("data_set") or "": _read(content)}
        return {name: _read(part) for name, part in content["results"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected a complete result file, got {error!r}.") from error


def _read(content: dict[str, Any]) -> Result:
    protocol = dict(content["protocol"], ignore=tuple(content["protocol"]["ignore"]))
    parts = {f.name: content[f.name] for f in fields(Result) if f.name != "protocol"}
    for rows in ([parts["figures"]], parts["classes"], parts["images"]):
        for row in rows:
            row.update({k: math.nan for k, v in row.items() if v is None})
    return Result(protocol=Protocol(**protocol), **parts)


def comparable(a: Result, b: Result) -> list[str]:
    """The fields of the protocol that forbid a comparison.

    What only one of the two states (the name of the data set, seen marks, a figure) forbids
    nothing; what both state must agree, and so must the definitions of the figures they share.

    Returns:
        Names of differing fields, such as "ignore" or "definitions.mIoU_gt"; empty if the figures
        of both have one meaning.
    """
    differing = []
    for entry in fields(Protocol):
        ours, theirs = getattr(a.protocol, entry.name), getattr(b.protocol, entry.name)
        unstated = entry.name in _OPTIONAL and None in (ours, theirs)
        if ours != theirs and not unstated:
            differing.append(entry.name)
    shared = [name for name in a.definitions if name in b.definitions]
    return differing + [
        f"definitions.{name}" for name in shared if a.definitions[name] != b.definitions[name]
    ]


def field_of(result: Result, name: str) -> Any:
    """The value of a field that `comparable` names."""
    group, _, key = name.partition(".")
    return result.definitions[key] if key else getattr(result.protocol, group)


def _hash(content: Any) -> str:
    # Names of files may hold surrogates, which ASCII JSON escapes.
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode("ascii")).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python's own, NaN as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
