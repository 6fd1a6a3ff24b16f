"""The table of weights, assets/weights.json: who published what, where, and for which config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stseg.utils import ASSETS, config_path, did_you_mean

TABLE = ASSETS / "weights.json"
SHIPS = "stseg://"
BY_NAME = "weights://"


@dataclass(frozen=True)
class Published:
    """A file of weights. None, and "" for `file` and `url`, where a thing is not known to us.

    Attributes:
        name: what it is asked for by, such as "sed-convnextB".
        system: "SED", "SAM", "CLIP" and so on.
        key: config key that takes the file.
        config: name of the one that ships which it fits whole, to predict with; None where it
            is an encoder, or of a system that is not built here yet.
        file: name of the file on disk, no two alike.
        url: https, a page of Google Drive, or `stseg://` for what ships.
        size: bytes.
        sha256: of the file, in hex.
        page: where its authors say what it is.
        paper: its address.
        licence: in words, of code and weights as far as stated.
        figures: mIoU in percent by benchmark.
        figures_by: who measured them.
        note: what else is to be known.
        words: by benchmark the ending of the data set's name under whose words it was measured,
            where these are not the plain ones.
    """

    name: str
    system: str
    key: str
    config: str | None
    file: str
    url: str
    size: int | None
    sha256: str | None
    page: str
    paper: str | None
    licence: str
    figures: Mapping[str, float]
    figures_by: str | None
    note: str
    words: Mapping[str, str] = field(default_factory=dict)

    def config_file(self) -> Path:
        """The config that `Predictor` takes with this file.

        Raises:
            ValueError: if there is none, with what the file is for.
        """
        encoder = self.key != "MODEL.WEIGHTS"
        if self.config is None:
            raise ValueError(
                f"{self.name}: expected weights of a whole system to predict with, got "
                + (
                    f"an encoder's, {self.system}. Give it as {self.key} weights://{self.name}."
                    if encoder
                    else f"those of {self.system}, which can be fetched, but the system is not "
                    "built here yet."
                )
            )
        return config_path(self.config)


def catalog() -> dict[str, Published]:
    """All entries by name, as they stand in the table."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Published(name=name, **row) for name, row in rows.items()}


def find(name: str) -> Published:
    """An entry by its name.

    Raises:
        ValueError: if there is none; names the nearest.
    """
    known = catalog()
    if name not in known:
        raise ValueError(
            f"Weights: expected a name of `stseg weights list`, got {name!r}."
            f"{did_you_mean(name, known)}"
        )
    return known[name]


def path_of(weights: str) -> str:
    """What a person gave as weights as a key takes it: `weights://NAME` for a name of the table."""
    is_name = weights in catalog() and not Path(weights).is_file()
    return f"{BY_NAME}{weights}" if is_name else weights
