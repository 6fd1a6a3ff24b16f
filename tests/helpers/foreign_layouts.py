"""Folders as public data sets lay them out, drawn small: file names, colours and values of theirs.

Every layout holds `TRUTH[k]` for image k, whatever its files are called and hold.
"""

from pathlib import Path

import numpy as np
from PIL import Image

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


def _sun_rgbd(root: Path) -> str:
    for k in range(2):
        photo(root / f"image/train/img-{k:06d}.jpg")
        save(root / f"label37/train/img37labels-{k:06d}.png", TRUTH[k] + 1)
    return (
        "images=image/train,labels=label37/train,image_beginning=img-,"
        "label_beginning=img37labels-,reduce_zero_label=true"
    )


def _isprs(root: Path) -> str:
    for k in range(2):
        photo(root / f"Ortho/top_potsdam_2_1{k}_RGB.tif")
        save(root / f"Labels/top_potsdam_2_1{k}_label.tif", COLOURS[TRUTH[k]])
    (root / "colours.txt").write_text("0 0 0 soil\n0 255 0 crop\n255 0 0 weed\n")
    return "images=Ortho,labels=Labels,image_ending=_RGB,label_ending=_label,colours=colours.txt"


def _cwfid(root: Path) -> str:
    for k in range(2):
        photo(root / f"images/{k:03d}_image.png")
        save(root / f"annotations/{k:03d}_annotation.png", COLOURS[TRUTH[k]])
    return (
        "labels=annotations,image_ending=_image,label_ending=_annotation.png,"
        "colours=0 0 0:soil,#00FF00:crop,#ff0000:2"
    )


def _loveda(root: Path) -> str:
    for k, region in enumerate(("Rural", "Urban")):
        photo(root / f"Train/{region}/images_png/7.png")
        save(root / f"Train/{region}/masks_png/7.png", TRUTH[k] + 1)
    return "images=Train/*/images_png,labels=Train/*/masks_png,reduce_zero_label=true"


def _isaid(root: Path) -> str:
    for k in range(2):
        photo(root / f"images/P000{k}_0_896.png")
        for what in ("color", "id"):
            save(root / f"images/P000{k}_0_896_instance_{what}_RGB.png", COLOURS[TRUTH[k]])
    (root / "names.json").write_text(
        '{"classes": ["soil", "crop", "weed"],'
        ' "colours": {"soil": [0, 0, 0], "#00ff00": 1, "255 0 0": "weed"}}'
    )
    return "labels=images,label_ending=_instance_color_RGB,labels_select=true"


def _painted_masks(root: Path) -> str:
    for k in range(2):
        photo(root / f"images/a/{k}.jpg")
        save(root / f"labels/a/{k}.png", np.array([0, 128, 255], dtype=np.uint8)[TRUTH[k]])
    photo(root / "images/a/unlisted.jpg")
    (root / "train.txt").write_text("a/0\na/1.jpg a/1.png\n")
    return "nested=true,split=train.txt,values=0:0,128:crop,255:2"


LAYOUTS = {
    "sun_rgbd": _sun_rgbd,
    "isprs": _isprs,
    "cwfid": _cwfid,
    "loveda": _loveda,
    "isaid": _isaid,
    "painted_masks": _painted_masks,
}


def write_layout(root: Path, layout: str) -> str:
    """Write files and names.txt; return the `--data` flag that names them "mine"."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "names.txt").write_text(NAMES)
    keys = LAYOUTS[layout](root)
    if (root / "names.json").exists():
        (root / "names.txt").unlink()
    return f"mine=folder:{root},{keys}"
