"""The two worlds in which the guard is measured, drawn scenes and photographs: what differs.

Drawn scenes are the small world's target domain, in the data root. Photographs are CamVid, with a
start that has masks of seven of its classes, as in `benchmarks.unseen_photos`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import unseen_photos
from stseg.small_world import CLASS_NAMES, UNSEEN_NAMES
from stseg.utils import write_atomically

Pair = tuple[str, str]


@dataclass(frozen=True)
class World:
    """Where cases of stage 2 run.

    Attributes:
        suffix: of its folder and of its labelers.
        starts: name, and row and seed of the stage 1 behind it; None for the weights that ship.
        chosen_by: starts by whose cases limits were chosen; those of others are judged once.
        swaps_in_turn: of the two kinds with swapped classes a start has one, in turn.
        minutes: core-minutes of a case and of a start, for the estimate.
        config: file in configs/mini.
        options: keys and values in turn, besides those of all cases.
        target: writes the names into a case's folder, some replaced by others, and gives keys and
            values for images and names; of the folder with the pictures if that is not the data
            root's.
        truth: data set with labels that the guard never sees.
        judged: which of its images.
        names: of the classes.
        unseen: those that stage 1 has no masks of.
        things: small classes.
        wrong: names that say nothing of what the classes are.
        one_pair, three_pairs: classes that change places.
        shifts: pixels by which labels slip: an eighth, a quarter and a half of a cell of the
            features.
        low_gate: a threshold two thirds of the usual one.
    """

    suffix: str
    starts: Mapping[str, tuple[str, int] | None]
    chosen_by: tuple[str, ...]
    swaps_in_turn: bool
    minutes: tuple[float, float]
    config: str
    options: tuple[str, ...]
    target: Callable[[Path, Mapping[str, str], Path | None], list[str]]
    truth: str
    judged: slice
    names: tuple[str, ...]
    unseen: tuple[str, ...]
    things: tuple[str, ...]
    wrong: Mapping[str, str]
    one_pair: Pair
    three_pairs: tuple[Pair, Pair, Pair]
    shifts: tuple[int, int, int]
    low_gate: str


def drawn_target(out: Path, wrong: Mapping[str, str], root: Path | None) -> list[str]:
    """Images of the data root, and names without marks."""
    from stseg.data import data_root

    names = out / "names.txt"
    write_atomically(names, "\n".join(wrong.get(name, name) for name in CLASS_NAMES).encode())
    images = Path(data_root(), "small_world", "images", "target_train")
    return _images_and_names(images, names)


def photos_target(out: Path, wrong: Mapping[str, str], root: Path | None) -> list[str]:
    """Images of all of CamVid's videos, marked names, and the truth under these names."""
    assert root is not None  # the command line asks for it
    images = out / "images"
    images.mkdir(exist_ok=True)
    for path in sorted((root.resolve() / "images" / "train").iterdir())[::4]:
        link = images / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    names = out / "names.json"
    unseen_photos.write_names(CAMVID_NAMES, names, wrong)
    folders = repr([unseen_photos.val_entry(root, names)])
    return ["DATASETS.FOLDERS", folders, *_images_and_names(images, names)]


def _images_and_names(images: Path, names: Path) -> list[str]:
    return ["SELF_TRAINING.IMAGES", str(images), "SELF_TRAINING.VOCABULARY", str(names)]


def check_camvid(folder: Path) -> None:
    """Look for CamVid before anything is trained.

    Raises:
        FileNotFoundError: if a part of it is missing.
        ValueError: if its classes are others.
    """
    parts = [f"{kind}/{split}" for kind in ("images", "labels") for split in ("train", "val")]
    for part in (*parts, "names.json"):
        if not (folder / part).exists():
            raise FileNotFoundError(
                f"{folder}: expected CamVid, got a folder without {part}. Give --camvid the folder "
                "that holds images/{train,val}, labels/{train,val} and names.json."
            )
    found = json.loads((folder / "names.json").read_text(encoding="utf-8"))["classes"]
    if tuple(found) != CAMVID_NAMES:
        raise ValueError(
            f"{folder / 'names.json'}: expected CamVid's classes {', '.join(CAMVID_NAMES)}, got "
            f"{', '.join(map(str, found))}. Give --camvid another folder."
        )


CAMVID_NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign symbol", "fence", "car", "pedestrian", "bicyclist"),
)
DRAWINGS = World(
    suffix="",
    starts={
        "shipped": None,
        "start0": ("start", 0),
        "start1": ("start", 1),
        "unsure0": ("unsure", 0),
    },
    chosen_by=("shipped", "start0"),
    swaps_in_turn=True,
    minutes=(1.6, 4),
    config="adapt_small_world.yaml",
    options=(
        *("SELF_TRAINING.GATE.MIN_PIXEL", "0.0"),  # the default of when the report's runs were made
        *("SELF_TRAINING.SOURCE_VOCABULARY", "small_world_train_sem_seg"),
    ),
    target=drawn_target,
    truth="small_world_target_dev_sem_seg",
    judged=slice(50),
    names=CLASS_NAMES,
    unseen=UNSEEN_NAMES,
    things=CLASS_NAMES[10:],
    wrong={"grass": "violin", "house": "spoon", "tree": "comet", "car": "feather", "sky": "carpet",
           "boat": "ladder", "heart": "pepper", "cactus": "magnet"},
    one_pair=("house", "tree"),
    three_pairs=(("grass", "sand"), ("star", "heart"), ("cup", "bell")),
    shifts=(2, 4, 8),
    low_gate="0.6",
)  # fmt: skip
PHOTOS = World(
    suffix="_photos",
    starts={f"seed{seed}": ("baseline", seed) for seed in range(10)},
    chosen_by=(),
    swaps_in_turn=False,
    minutes=(5, unseen_photos.MINUTES["baseline"]),
    config=unseen_photos.STAGE2,
    options=("MODEL.STSEG.IMAGE_SIZE_TEST", "[384, 512]"),  # two thirds of the pixels, for the cost
    target=photos_target,
    truth="camvid_val",
    judged=slice(0, 100, 2),  # 50 out of all of a video
    names=CAMVID_NAMES,
    unseen=tuple(unseen_photos.UNSEEN),
    things=("pole", "sign symbol", "fence", "car", "pedestrian", "bicyclist"),
    wrong={"building": "spoon", "tree": "violin", "pedestrian": "pepper"},
    one_pair=("building", "tree"),
    three_pairs=(("road", "pavement"), ("fence", "car"), ("pedestrian", "bicyclist")),
    shifts=(4, 8, 15),
    low_gate="0.33",
)
WORLDS = {"drawings": DRAWINGS, "photos": PHOTOS}
