"""Weights of open_clip's tags: from our own table's file, Hugging Face's cache, or its hub."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import huggingface_hub
import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from stseg.weights import Published, catalog, whereabouts

_PATIENCE = 10.0  # seconds until the hub counts as out of reach; open_clip tries for more than 40


def file_of_tag(name: str, tag: str) -> str:
    """Our own file of a tag, where the table has one and it is on this machine; else "".

    Args:
        name: of the architecture.
        tag: of open_clip.

    Raises:
        FileNotFoundError: if it is nowhere on this machine and the hub cannot be reached; says what
            to do.
    """
    entry = _entry(name, tag)
    path = whereabouts(entry) if entry else None
    if path is not None:
        return str(path)
    repository = open_clip.get_pretrained_cfg(name, tag).get("hf_hub", "").rstrip("/")
    if repository and not _is_cached(repository) and (reason := _is_out_of_reach()):
        cure = f"put a file of https://huggingface.co/{repository} here, and give its path"
        if entry:
            cure = (
                f"run `stseg weights get {entry.name}` where there is one, and set STSEG_WEIGHTS "
                f"to a folder with {entry.file}"
            )
        raise FileNotFoundError(
            f"MODEL.CLIP.PRETRAINED: expected the weights {tag!r} of {name} on this machine, or a "
            f"network to fetch them, got neither ({reason}). Without network {cure}."
        )
    return ""


def _entry(name: str, tag: str) -> Published | None:
    return next((e for e in catalog().values() if e.file.startswith(f"{name}-{tag}.")), None)


def _is_cached(repository: str) -> bool:
    names = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return any(isinstance(path, str) for path in found)


def _is_out_of_reach() -> str:
    """Why the hub cannot be reached, "" where it can."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        with urlopen(Request(huggingface_hub.constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE):
            return ""
    except HTTPError:  # it answers
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))
