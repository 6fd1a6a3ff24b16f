"""Folders as public data sets lay them out, drawn small: file names, colours and values of theirs.

Every layout holds `TRUTH[k]` for image k, whatever its files are called and hold.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from stseg.config import split_keys

ROOT = Path(__file__).resolve().parents[2]

HEIGHT, WIDTH = 16, 24
_BLOCKS = np.random.default_rng(3).integers(0, 3, (2, HEIGHT // 8, WIDTH // 8))
#: (2, H, W) class ids 0 to 2.
TRUTH = _BLOCKS.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
COLOURS = np.array([[0, 0, 0], [0, 255, 0], [255, 0, 0]], dtype=np.uint8)
NAMES = "soil\ncrop\nweed\n"


def save(path: Path, array: np.ndarray) -> None:
    """Write an image or a label map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def photo(path: Path, number: int = 0) -> None:
    """Write an image of the label maps' size."""
    save(path, np.full((HEIGHT, WIDTH, 3), 60 + number, dtype=np.uint8))


def _sun_rgbd(root: Path) -> None:
    for k in range(2):
        photo(root / f"image/train/img-{k:06d}.jpg")
        save(root / f"label37/train/img37labels-{k:06d}.png", TRUTH[k] + 1)


def _isprs(root: Path) -> None:
    for k in range(2):
        photo(root / f"2_Ortho_RGB/top_potsdam_2_1{k}_RGB.tif")
        save(root / f"5_Labels_all/top_potsdam_2_1{k}_label.tif", COLOURS[TRUTH[k]])
    (root / "colours.txt").write_text("0 0 0 soil\n0 255 0 crop\n255 0 0 weed\n")


def _cwfid(root: Path) -> None:
    for k in range(2):
        photo(root / f"images/{k:03d}_image.png")
        save(root / f"annotations/{k:03d}_annotation.png", COLOURS[TRUTH[k]])


def _loveda(root: Path) -> None:
    for k, region in enumerate(("Rural", "Urban")):
        photo(root / f"{region}/images_png/7.png")
        save(root / f"{region}/masks_png/7.png", TRUTH[k] + 1)


def _isaid(root: Path) -> None:
    for k in range(2):
        photo(root / f"images/P000{k}_0_896.png")
        for what in ("color", "id"):
            save(root / f"images/P000{k}_0_896_instance_{what}_RGB.png", COLOURS[TRUTH[k]])
    (root / "colours.txt").write_text("name,r,g,b\nsoil,0,0,0\ncrop,0,255,0\nweed,255,0,0\n")


def _painted_masks(root: Path) -> None:
    for k in range(2):
        photo(root / f"images/a/{k}.jpg")
        save(root / f"labels/a/{k}.png", np.array([0, 128, 255], dtype=np.uint8)[TRUTH[k]])
    photo(root / "images/a/unlisted.jpg")
    (root / "train.txt").write_text("a/0\na/1.jpg a/1.png\n")


LAYOUTS = {
    "sun": _sun_rgbd,
    "isprs": _isprs,
    "cwfid": _cwfid,
    "loveda": _loveda,
    "isaid": _isaid,
    "masks": _painted_masks,
}
_FLAGS = re.findall(r'^--data "(.+)"$', (ROOT / "datasets" / "README.md").read_text(), re.MULTILINE)
_FLAGS.append("masks=folder:masks,nested=true,split=train.txt,values=0:0,128:crop,255:2")


def write_layout(root: Path, layout: str) -> str:
    """Write files and names.txt; return the `--data` flag of datasets/README.md, as "mine"."""
    flag = next(flag for flag in _FLAGS if flag.startswith(f"{layout}="))
    place, keys = split_keys(flag.partition(":")[2])
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "names.txt").write_text(NAMES)
    LAYOUTS[layout](folder)
    return f"mine=folder:{folder}," + ",".join(f"{key}={value}" for key, value in keys.items())
