"""Checkpoint files, read as data: nothing in a file can run code, whatever its suffix."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stseg.checkpoint.frozen_parts import with_frozen
from stseg.checkpoint.short_form import in_full
from stseg.weights import resolve

#: In the place of a file: start values are meant, which nobody gets by leaving a key out.
RANDOM = "random"
#: In the place of an encoder's file: the values come with the checkpoint that is loaded next.
LOADED_NEXT = "in MODEL.WEIGHTS"

#: What torch raises on a file that is cut off or none of its own.
READ_ERRORS = (
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    UnicodeDecodeError,
    KeyError,
    ValueError,
    AttributeError,
    IndexError,
    OSError,
)


def read_state_dict(path: str, key: str = "") -> dict[str, Tensor]:
    """The model's tensors in a checkpoint file, whatever container it has; see below."""
    return read_checkpoint(path, key)["model"]


def read_checkpoint(path: str, key: str = "") -> dict[str, Any]:
    """All that a checkpoint file holds.

    Args:
        path: local file, URL, `stseg://` or `weights://` name, of torch.save or safetensors.
            Other pickles are refused: reading them could run code.
        key: config key that names the file, for messages; "" for none.

    Returns:
        "model": its tensors by name, out of "model" or "state_dict" where it is wrapped, without
        "module." in front; and what else there is.

    Raises:
        FileNotFoundError: if there is no such file, or a package that holds some of its tensors is
            not installed.
        ValueError: if it cannot be read as one.
    """
    local, where = resolve(path), f"{key}: " if key else f"{path}: "
    if not Path(local).is_file():
        raise FileNotFoundError(
            f"{where}expected a checkpoint file, got {path!r}, which does not exist."
        )
    content = _load(local, where)
    if isinstance(content, dict):
        load = partial(_load, where=where)
        content = in_full(with_frozen(content, Path(local), load), load)
    state, rest = content, {}
    for wrapper in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state, rest = state[wrapper], {k: v for k, v in state.items() if k != wrapper}
    if not isinstance(state, dict) or not state or not all(map(_is_tensor, state.values())):
        raise ValueError(
            f"{where}expected a dict of tensors, bare or under 'model', got "
            f"{type(state).__name__} in {path!r}."
        )
    return {**rest, "model": {name.removeprefix("module."): v for name, v in state.items()}}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _load(local: str, where: str) -> Any:
    try:
        if local.endswith(".safetensors"):
            return load_file(local)
        _check_archive(local)
        with _numpy_allowed():
            return torch.load(local, map_location="cpu", weights_only=True)
    except (*READ_ERRORS, SafetensorError) as error:
        raise ValueError(
            f"{where}expected a torch checkpoint with tensors only, got {_looks_like(local)} in "
            f"{local!r} that cannot be read as one ({reason_of(error)}). Fetch a "
            "download again; if it holds other objects, which could run code, save the tensors "
            "alone: torch.save({'model': model.state_dict()}, file)."
        ) from error


def _looks_like(local: str) -> str:
    """What a file that is no checkpoint seems to be."""
    with open(local, "rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith((b"<!", b"<html", b"<?xml")):
        return "a web page"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS (git lfs pull fetches the file)"
    size = Path(local).stat().st_size
    return f"{size} bytes" if size else "an empty file"


_FOLDER = 0x10  # attribute of a part
# What zipfile raises on damage, by where it lies.
_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError),
)


def _check_archive(local: str) -> None:
    """Refuse a file whose bytes are not those that were saved: torch looks at no checksum.

    Raises:
        ValueError: names the damaged part.
    """
    try:
        if not zipfile.is_zipfile(local):  # as torch saved before 1.6
            return
        with zipfile.ZipFile(local) as archive:
            damaged = archive.testzip()
            folders = [part.filename for part in archive.infolist() if part.external_attr & _FOLDER]
    except _ARCHIVE_ERRORS as error:
        raise ValueError(f"the archive is damaged: {error}") from error
    if folders:  # of which torch would give memory as it was
        raise ValueError(f"the archive is damaged: {folders[0]} counts as a folder")
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong: bytes have changed since the saving")


def reason_of(error: Exception) -> str:
    """Why a file could not be read, in a line, without torch's own advice to trust it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("Trying to load", "Unsupported"))]
    return f"{type(error).__name__}: {' '.join(telling or lines[:1])[:160]}".removesuffix(": ")


@contextmanager
def _numpy_allowed() -> Iterator[None]:
    """Inside, torch reads NumPy's numbers and arrays, too: data that trainings leave beside."""
    if not hasattr(torch.serialization, "safe_globals"):  # torch < 2.5 has tensors only
        yield
        return
    # NumPy 1.26 may have a "_core", too, an empty one.
    multiarray = getattr(getattr(np, "_core", None), "multiarray", None) or np.core.multiarray
    functions: list[Any] = [multiarray.scalar, multiarray._reconstruct]
    if torch.__version__ >= (2, 6):
        # Under the names that NumPy 1 and 2 give them, whichever wrote the file.
        places = ("numpy.core.multiarray", "numpy._core.multiarray")
        functions = [(f, f"{place}.{f.__name__}") for f in functions for place in places]
    kinds = [type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdU"]
    with torch.serialization.safe_globals([np.dtype, np.ndarray, *kinds, *functions]):
        yield
