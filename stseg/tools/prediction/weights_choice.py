"""Which config and which weights a picture is segmented with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from stseg.utils import config_path
from stseg.weights import PHOTO_NETWORK, Published, catalog, find, path_of, whereabouts

logger = logging.getLogger(__name__)

#: What photographs are segmented with where nothing is said.
DEFAULT = "sed-convnextB"
#: And where that is not here, but the extra `stseg[photos]` is.
OFFLINE = "photo_mini"


class Choice(NamedTuple):
    """What `Predictor` takes; no weights = those of the config."""

    config: str
    weights: str | None


def choose(config: str, weights: str) -> Choice:
    """Fill in what a person has left out.

    Args:
        config: file or name, "" if not given.
        weights: file or name of the table, "" if not given.

    Raises:
        ValueError: if there are no weights for photographs on this machine, or no config for those
            that were named; says how to get them.
    """
    if weights:
        return Choice(config or _config_of(weights), path_of(weights))
    if not config and whereabouts(find(DEFAULT)) is None and PHOTO_NETWORK.is_here:
        logger.warning(
            "Weights: %s, which knows the nouns of ImageNet and draws no outlines, for %s is not "
            "here. It answers far better: stseg weights get %s.", OFFLINE, DEFAULT, DEFAULT,
        )  # fmt: skip
        return Choice(OFFLINE, None)
    if not config:
        return Choice(str(_here(find(DEFAULT)).config_file()), path_of(DEFAULT))
    published = _published_for(config)
    return Choice(config, path_of(_here(published).name) if published else None)


def _config_of(weights: str) -> str:
    """The config that belongs to weights: the table's, or that of the run that left the file."""
    if path_of(weights) != weights:
        return str(find(weights).config_file())
    beside = Path(weights).with_name("config.yaml")
    if not beside.is_file():
        raise ValueError(
            f"--config: expected the config that {weights} belongs to, got none, nor config.yaml "
            "beside the file. Name it: a YAML file, or one that ships, such as sed_convnextB_768."
        )
    return str(beside)


def _published_for(config: str) -> Published | None:
    """Weights that are published for a config which has none of its own."""
    path = config_path(config)
    for entry in catalog().values():
        if entry.config and entry.url.startswith("http") and entry.config_file() == path:
            return entry
    return None


def _here(entry: Published) -> Published:
    """The entry, if its file is on this machine: nothing large is fetched unasked."""
    if whereabouts(entry) is None:
        size = f", {entry.size / 1e6:.0f} MB" if entry.size else ""
        raise ValueError(
            f"--weights: expected weights, got none. For photographs {entry.name} would be taken "
            f"({entry.system}, {entry.page}{size}; {entry.licence}), which is not here yet.\n"
            f"  Fetch it:         stseg weights get {entry.name}\n"
            f"  Without network:  put {entry.file}, from {entry.url},\n"
            "                    into a folder, and set STSEG_WEIGHTS to that folder\n"
            "  Others:           stseg weights list, then --weights NAME; or --weights FILE "
            "--config CONFIG\n"
            f"  Nouns, roughly:   pip install 'stseg[photos]', then --config {OFFLINE}\n"
            "  Drawn scenes:     --config stseg_mini runs the miniature that ships, which knows "
            "nothing else"
        )
    logger.info("Weights: %s.", entry.name)
    return entry
