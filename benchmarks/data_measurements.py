"""Preparing data and loading it, measured for `benchmarks.data`."""

import cProfile
import pstats
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image

from benchmarks.evaluators import regions
from stseg.config import add_stseg_config
from stseg.data import load_id_table
from stseg.data.loaders import build_mapper
from stseg.tools.preparation import COCO_STUFF
from stseg.tools.preparation.label_encoders import coco_stuff
from stseg.tools.preparation.runner import prepare as run_tasks

SPLIT = "val2017"
JOBS = (1, 2)
DIFFERENT = 8
TOP = 12


def synthetic_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """A few images with raw COCO-Stuff maps of 20 regions, written below `folder`."""
    values = np.array(load_id_table("coco_stuff_ids"), np.uint8)
    folder.mkdir(parents=True)
    pairs = []
    for number in range(DIFFERENT):
        ids, _ = regions(len(values), number)
        noise = np.random.default_rng(number).normal(0, 12, (*ids.shape, 3))
        image = (ids[..., None] * (3, 5, 7) % 200 + 30 + cv2.GaussianBlur(noise, (0, 0), 1)).clip(
            0, 255
        )
        pair = folder / f"{number}.jpg", folder / f"{number}.png"
        Image.fromarray(image.astype(np.uint8)).save(pair[0], quality=90)
        Image.fromarray(values[ids]).save(pair[1])
        pairs.append(pair)
    return pairs


def real_pairs(root: Path) -> list[tuple[Path, Path]]:
    """Images and raw maps of COCO-Stuff below a data root, validation before training."""
    labels = [
        path
        for split in ("val2017", "train2017")
        for path in sorted((root / "coco-stuff/annotations" / split).glob("*.png"))
    ]
    if not labels:
        raise FileNotFoundError(f"--root: expected raw COCO-Stuff below {root}, got none.")
    folder = root / "coco-stuff/images"
    return [(folder / path.parent.name / f"{path.stem}.jpg", path) for path in labels]


def cpu_seconds() -> float:
    """Of this process and its finished children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def measure_prepare(pairs: list[tuple[Path, Path]], images: int, folder: Path) -> dict:
    """Label maps written per second, by number of jobs."""
    raw = folder / "prepare/coco-stuff/annotations" / SPLIT
    raw.mkdir(parents=True)
    for number in range(images):
        source = pairs[number % len(pairs)][1]
        (raw / f"{number:012d}.png").write_bytes(source.read_bytes())
    tasks = COCO_STUFF.splits[SPLIT](folder / "prepare")
    rows = []
    for jobs in JOBS:
        start, cpu = time.perf_counter(), cpu_seconds()
        outcomes = list(run_tasks(tasks, folder / f"jobs{jobs}", jobs=jobs))
        wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        if any(len(outcome.written) != 1 for outcome in outcomes):
            raise RuntimeError(f"prepare: expected a map per task, got {outcomes}.")
        rows.append({"jobs": jobs, "images_per_second": images / wall, "by_cpu": images / cpu})
    ratio = rows[1]["images_per_second"] / rows[0]["images_per_second"]
    return {"rows": rows, "speedup": ratio}


def show_prepare(report: dict) -> None:
    """Print the table."""
    print(f"\nprepare{'jobs':>6s}{'maps/s':>10s}{'per CPU second':>18s}")
    for row in report["rows"]:
        print(f"{row['jobs']:13d}{row['images_per_second']:10.1f}{row['by_cpu']:18.1f}")
    print(f"two jobs over one: {report['speedup']:.2f}x")


def make_mappers(colours: bool) -> dict[str, Callable]:
    """Detectron2's mapper and ours, with the same augmentations."""
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.INPUT.COLOR_AUG_SSD = colours
    crop = cfg.INPUT.CROP
    theirs = [
        T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, "choice"),
        T.RandomCrop_CategoryAreaConstraint(
            "absolute", tuple(crop.SIZE), crop.SINGLE_CATEGORY_MAX_AREA, ignored_category=255
        ),
        *([ColorAugSSDTransform(img_format="RGB")] if colours else []),
        T.RandomFlip(),
    ]
    return {
        "detectron2": DatasetMapper(is_train=True, augmentations=theirs, image_format="RGB"),
        "stseg": build_mapper(cfg, True, ["coco_2017_test_stuff_all_sem_seg"]),
    }


def mapped(mapper: Callable, record: dict, seed: int) -> tuple[dict, float, float]:
    """A model input, with seconds on the wall and of the CPU."""
    np.random.seed(seed)
    random.seed(seed)
    start, cpu = time.perf_counter(), time.process_time()
    item = mapper(record)
    return item, time.perf_counter() - start, time.process_time() - cpu


def compare_mappers(mappers: dict[str, Callable], records: list[dict], images: int) -> dict:
    """Images per second of both; the first images warm up."""
    seconds = {side: np.zeros(2) for side in mappers}
    for number in range(-len(mappers), images):
        record = records[number % len(records)]
        items = {}
        # Who goes first alternates: the second finds the file in the cache.
        order = list(mappers) if number % 2 else list(mappers)[::-1]
        for side in order:
            items[side], *spent = mapped(mappers[side], record, number + 10)
            if number >= 0:
                seconds[side] += spent
        check_equal(items["detectron2"], items["stseg"], record["file_name"])
    rates = {
        side: {"images_per_second": images / wall, "by_cpu": images / cpu}
        for side, (wall, cpu) in seconds.items()
    }
    ratios = {
        key: rates["stseg"][key] / rates["detectron2"][key]
        for key in ("images_per_second", "by_cpu")
    }
    return {"rates": rates, "ratios": ratios}


def check_equal(theirs: dict, ours: dict, name: str) -> None:
    """Refuse to compare unlike work."""
    label = ours["sem_seg"].clone()
    label[label < 0] = 255
    if not (theirs["image"].equal(ours["image"]) and theirs["sem_seg"].equal(label)):
        raise RuntimeError(f"loader: expected the same pixels and ids of both, got others: {name}.")


def profile(mapper: Callable, records: list[dict], images: int) -> list[dict]:
    """Functions by their own time, as shares of the whole."""
    watch = cProfile.Profile()
    watch.enable()
    for number in range(images):
        mapper(records[number % len(records)])
    watch.disable()
    stats = pstats.Stats(watch)
    own = {key: value[2] for key, value in stats.stats.items()}
    first = sorted(own, key=own.get, reverse=True)[:TOP]
    return [
        {
            "function": f"{Path(file).name}:{name}" if line else name,
            "share": own[key] / stats.total_tt,
        }
        for key in first
        for file, line, name in [key]
    ]


def measure_loader(pairs: list[tuple[Path, Path]], images: int, folder: Path) -> dict:
    """Both mappers on prepared pairs."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    (folder / "labels").mkdir()
    records = []
    for number, (image, label) in enumerate(pairs):
        path = folder / "labels" / f"{number}.png"
        Image.fromarray(coco_stuff(np.array(Image.open(label)))).save(path)
        records.append({"file_name": str(image), "sem_seg_file_name": str(path)})
    report = {}
    for line, colours in (("resize, crop, flip", False), ("and colours", True)):
        mappers = make_mappers(colours)
        report[line] = compare_mappers(mappers, records, images)
    report["profile"] = profile(mappers["stseg"], records, images)
    return report


def show_loader(report: dict) -> None:
    """Print the tables."""
    print(f"\nloader{'':22s}{'images/s':>18s}{'per CPU second':>18s}")
    for line in ("resize, crop, flip", "and colours"):
        for side, rates in report[line]["rates"].items():
            rate, cpu = rates["images_per_second"], rates["by_cpu"]
            print(f"{line:20s}{side:12s}{rate:14.1f}{cpu:18.1f}")
        wall, cpu = report[line]["ratios"].values()
        print(f"{'':20s}{'ratio':12s}{wall:13.2f}x{cpu:17.2f}x")
    print("\nwhere our time goes, with colours")
    for row in report["profile"]:
        print(f"{row['share']:7.1%}  {row['function']}")


MEASUREMENTS = {
    "prepare": (measure_prepare, show_prepare),
    "loader": (measure_loader, show_loader),
}
