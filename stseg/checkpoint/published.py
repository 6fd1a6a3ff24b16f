"""Loading of published checkpoints into our models, with every key accounted for."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stseg.checkpoint import sed
from stseg.checkpoint.signatures import identify
from stseg.paths import resolve

# What torch raises on a file that is cut off or none of its own.
_READ_ERRORS = (RuntimeError, EOFError, pickle.UnpicklingError, UnicodeDecodeError, KeyError)

# Published system -> how its keys are called here.
_READERS: dict[str, Callable[[str], str]] = {"SED": sed.rename}


def load_published(model: nn.Module, path: str) -> None:
    """Load a published checkpoint into a model built for it.

    SED's ConvNeXt-B and -L files load into `STSeg` with `MODEL.STSEG.DEA.ENABLED False`. Every
    key of the file must find its parameter, with its shape, and every parameter its key.

    Args:
        model: the model, changed in place only if all fits.
        path: local file, URL or `stseg://` path; Detectron2's `{"model": ...}` or a bare dict,
            with or without a "module." prefix.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint, another system's, or of another size.
    """
    load_published_state(model, read_state_dict(path), path)


def load_published_state(model: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Load the tensors of a published checkpoint that was read from `path`; see above."""
    kind = identify(state)
    if kind not in _READERS:
        raise ValueError(
            f"{path}: expected a checkpoint of {' or '.join(_READERS)}, got one that looks like "
            f"{kind} ({len(state)} keys, the first {next(iter(state), 'none')!r}). {_cure(kind)}"
        )
    renamed = {_READERS[kind](key): value for key, value in state.items()}
    _check(model, renamed, kind, path)
    model.load_state_dict(renamed)


def read_state_dict(path: str) -> dict[str, Tensor]:
    """The model's tensors in a checkpoint file, whatever container it has; see below."""
    return read_checkpoint(path)["model"]


def read_checkpoint(path: str) -> dict[str, Any]:
    """All that a checkpoint file holds.

    Returns:
        "model": its tensors by name, without "module." in front; and what else there is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as one.
    """
    local = resolve(path)
    if not Path(local).is_file():
        raise FileNotFoundError(f"{path}: expected a checkpoint file, got nothing there.")
    try:
        content: Any = torch.load(local, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        raise ValueError(
            f"{path}: expected a torch checkpoint with tensors only, got "
            f"{Path(local).stat().st_size} bytes that cannot be read as one "
            f"({type(error).__name__}: {str(error)[:200]}). If it is a download, fetch again."
        ) from error
    state, rest = content, {}
    for wrapper in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state, rest = state[wrapper], {k: v for k, v in state.items() if k != wrapper}
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path}: expected a dict of tensors, bare or under 'model', got "
            f"{type(state).__name__}."
        )
    return {**rest, "model": {key.removeprefix("module."): v for key, v in state.items()}}


def _check(model: nn.Module, state: dict[str, Tensor], kind: str, path: str) -> None:
    own = model.state_dict()
    unexpected = sorted(set(state) - set(own))
    missing = sorted(set(own) - set(state))
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in sorted(set(own) & set(state))
        if own[key].shape != state[key].shape
    ]
    if not (unexpected or missing or shapes):
        return
    problems = [
        f"{len(found)} {what} (such as {found[0]})"
        for what, found in (
            ("keys without a place in the model", unexpected),
            ("parameters without a key in the file", missing),
            ("shapes that differ", shapes),
        )
        if found
    ]
    raise ValueError(
        f"{path}: expected the keys of the model as configured, got a file that looks like {kind}"
        f"{_size_hint(state)} with {'; '.join(problems)}. Set MODEL.CLIP.NAME and "
        "MODEL.STSEG.DEA.ENABLED to what the file was trained with."
    )


def _size_hint(state: dict[str, Tensor]) -> str:
    stem = state.get("image_encoder.visual.trunk.stem.0.weight")
    names = {128: "convnext_base_w_320", 192: "convnext_large_d_320"}
    return f" with {names[len(stem)]}" if stem is not None and len(stem) in names else ""


def _cure(kind: str) -> str:
    cures = {
        "stseg": "Our own checkpoints load by MODEL.WEIGHTS.",
        "SAM": "Give it as MODEL.SAM.CHECKPOINT.",
        "an open_clip ConvNeXt": "Give it as MODEL.CLIP.PRETRAINED.",
        "an open_clip or OpenAI ViT": "Give it as MODEL.CLIP.PRETRAINED.",
    }
    return cures.get(kind, "It cannot be loaded into this model.")
