"""Tiny downloads of every benchmark, with what must become of them worked out by other means."""

import json
import pickle
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from stseg.tools.preparation.ade20k import ADE20K_150, ADE20K_FULL
from stseg.tools.preparation.cityscapes import CITYSCAPES
from stseg.tools.preparation.coco_stuff import COCO_STUFF
from stseg.tools.preparation.pascal_context import PASCAL_CONTEXT_59, PASCAL_CONTEXT_459
from stseg.tools.preparation.voc import VOC

SHAPE = (6, 8)


def save(path: Path, pixels: np.ndarray) -> None:
    """An image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _filled(values: list[int], shape=SHAPE) -> np.ndarray:
    """(H, W) uint8 of the values in turn."""
    return np.resize(np.array(values, np.uint8), shape)


def coco_stuff(root: Path) -> dict[str, np.ndarray]:
    folder, expected = root / "coco-stuff/annotations", {}
    # 20 cow is unseen; 11 and 25 stand for no class; 181 wood is the last.
    raw, all_ids = [0, 10, 11, 12, 20, 25, 26, 181, 255], [0, 10, 255, 11, 19, 255, 24, 170, 255]
    base = [0, 10, 255, 11, 255, 255, 24, 170, 255]
    for split in ("train2017", "val2017"):
        for name in ("000000000001", "000000000002"):
            save(folder / split / f"{name}.png", _filled(raw))
            expected[f"coco-stuff/annotations_detectron2/{split}/{name}.png"] = _filled(all_ids)
    for name in ("000000000001", "000000000002"):
        expected[f"coco-stuff/annotations_detectron2_base/train2017/{name}.png"] = _filled(base)
    return expected


def ade20k_150(root: Path) -> dict[str, np.ndarray]:
    expected = {}
    for split, mark in (("training", "train"), ("validation", "val")):
        name = f"{split}/ADE_{mark}_00000001.png"
        save(root / "ADEChallengeData2016/annotations" / name, _filled([0, 1, 150]))
        path = f"ADEChallengeData2016/annotations_detectron2/{name}"
        expected[path] = _filled([255, 0, 149])
    return expected


def ade20k_full(root: Path) -> dict[str, np.ndarray]:
    """One image of 6 x 8, and one of 1024 x 2048 that must come out at 512 x 1024."""
    release, expected = "ADE20K_2021_17_01", {}
    folders, names = [], []
    for mark, split, scale in (("train", "training", 1), ("val", "validation", 256)):
        folder, stem = f"{release}/images/ADE/{split}/urban/street", f"ADE_{mark}_00000007"
        # 2978 wall, 312 building, 432 catwalk (unseen) are 0, 1, 166; 5 is outside the 847.
        places = np.resize(np.array([2978, 312, 0, 432, 5]), (4, 8))
        colours = np.stack([places // 256 * 10 + 3, places % 256, places], -1).astype(np.uint8)
        colours = colours.repeat(scale, 0).repeat(scale, 1)
        save(root / folder / f"{stem}_seg.png", colours)
        save(root / folder / f"{stem}.jpg", np.full(colours.shape, 90, np.uint8))
        folders.append(folder)
        names.append(f"{stem}.jpg")
        ids = np.resize(np.array([0, 1, 65535, 166, 65535], np.uint16), (4, 8))
        ids = ids.repeat(max(1, scale // 2), 0).repeat(max(1, scale // 2), 1)
        expected[f"{release}/annotations_detectron2/{split}/{stem}.tif"] = ids
        if mark == "train":
            base = np.where(ids == 166, np.uint16(65535), ids)
            expected[f"{release}/annotations_detectron2_base/{split}/{stem}.tif"] = base
        image = np.full((*ids.shape, 3), 90, np.uint8)
        expected[f"{release}/images_detectron2/{split}/{stem}.jpg"] = image
    index = {"filename": names, "folder": folders, "objectPresence": np.zeros((2, 2))}
    (root / release / "index_ade20k.pkl").write_bytes(pickle.dumps(index))
    return expected


def _runs(mask: np.ndarray) -> dict:
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def pascal_context_59(root: Path) -> dict[str, np.ndarray]:
    """Masks that overlap, a number outside the 59, an image without masks, a name with "jpg"."""
    left, top = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[:, :3], top[:2] = True, True
    corner = np.zeros(SHAPE, bool)
    corner[5, 7] = True
    images, masks, expected = [], [], {}
    for number, (stem, phase) in enumerate(
        [("2008_jpg_000001", "val"), ("2008_000002", "train"), ("2008_000003", "val")]
    ):
        size = {"height": SHAPE[0], "width": SHAPE[1]}
        images.append({"image_id": number, "file_name": f"{stem}.jpg", "phase": phase, **size})
        ids = np.full(SHAPE, 255, np.uint8)
        if number < 2:
            # Numbers 2 and 458 are aeroplane and wood, the first and the last; 1 is an accordion.
            for category, mask in ((2, left), (458, top), (1, corner)):
                entry = {"image_id": number, "category_id": category, "segmentation": _runs(mask)}
                masks.append(entry)
            ids[left], ids[top] = 0, 58
        expected[f"VOCdevkit/VOC2010/annotations_detectron2/pc59_{phase}/{stem}.png"] = ids
        if phase == "train":
            base = np.where(ids == 0, np.uint8(255), ids)  # the aeroplane is unseen
            expected[f"VOCdevkit/VOC2010/annotations_detectron2_base/pc59_train/{stem}.png"] = base
    path = root / "VOCdevkit/VOC2010/trainval_merged.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annos_segmentation": masks}))
    return expected


def pascal_context_459(root: Path) -> dict[str, np.ndarray]:
    folder, expected = root / "VOCdevkit/VOC2010", {}
    (folder / "trainval").mkdir(parents=True, exist_ok=True)
    for split, stem in (("train", "2008_000002"), ("val", "2008_000003")):
        raw = np.resize(np.array([0, 1, 300, 459], np.uint16), SHAPE)
        scipy.io.savemat(folder / "trainval" / f"{stem}.mat", {"LabelMap": raw})
        (folder / f"pascalcontext_{split}.txt").write_text(f"{stem}\n")
        ids = np.resize(np.array([65535, 0, 299, 458], np.uint16), SHAPE)
        expected[f"VOCdevkit/VOC2010/annotations_detectron2/pc459_{split}/{stem}.tif"] = ids
    return expected


def voc(root: Path) -> dict[str, np.ndarray]:
    """The second image of each split is nothing but background."""
    folder, expected = root / "VOCdevkit/VOC2012", {}
    (folder / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    for split, list_name in (("train", "trainaug"), ("val", "val")):
        stems = [f"{split}_000001", f"{split}_jpg_000002"]
        (folder / f"ImageSets/Segmentation/{list_name}.txt").write_text("\n".join(stems) + "\n\n")
        for stem, raw in zip(stems, ([0, 1, 15, 16, 20, 255], [0]), strict=True):
            palette = Image.fromarray(_filled(raw)).convert("P")
            palette.putdata(_filled(raw).ravel().tolist())
            path = folder / "SegmentationClassAug" / f"{stem}.png"
            path.parent.mkdir(exist_ok=True)
            palette.save(path)
            where, whole = "VOCdevkit/VOC2012/annotations_detectron2", len(raw) > 1
            name = f"{split}/{stem}.png"
            expected[f"{where}/{name}"] = _filled([255, 0, 14, 15, 19, 255] if whole else [255])
            expected[f"{where}_bg/{name}"] = _filled([20, 0, 14, 15, 19, 255] if whole else [20])
            expected[f"{where}_21/{name}"] = _filled(raw)
            if split == "train":
                base = [255, 0, 14, 255, 255, 255] if whole else [255]
                expected[f"{where}_base/{name}"] = _filled(base)
    return expected


def cityscapes(root: Path) -> dict[str, np.ndarray]:
    expected = {}
    for split, city in (("train", "aachen"), ("val", "lindau")):
        stem = f"{city}_000000_000019"
        raw = _filled([0, 7, 9, 11, 29, 33, 255])
        save(root / f"cityscapes/gtFine/{split}/{city}/{stem}_gtFine_labelIds.png", raw)
        path = f"cityscapes/annotations_detectron2/{split}/{city}/{stem}_leftImg8bit.png"
        expected[path] = _filled([255, 0, 255, 2, 255, 18, 255])
    return expected


#: Script: benchmark, and what makes its tiny download.
TREES = {
    "prepare_coco_stuff.py": (COCO_STUFF, coco_stuff),
    "prepare_ade20k_150.py": (ADE20K_150, ade20k_150),
    "prepare_ade20k_full.py": (ADE20K_FULL, ade20k_full),
    "prepare_pascal_context_59.py": (PASCAL_CONTEXT_59, pascal_context_59),
    "prepare_pascal_context_459.py": (PASCAL_CONTEXT_459, pascal_context_459),
    "prepare_voc.py": (VOC, voc),
    "prepare_cityscapes.py": (CITYSCAPES, cityscapes),
}


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, hidden ones too, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
