"""The two sides of `benchmarks.pseudo_labels`, and their figures in this process."""

import argparse
import json
import resource
import time
from collections import defaultdict
from dataclasses import replace

import cv2
import numpy as np
import torch
from segment_anything import SamPredictor

from stseg.modeling.encoders import SAMImageEncoder, create_sam, decoder_parts
from stseg.self_training.decoding import best_of, decode
from stseg.self_training.frame import Frame
from stseg.self_training.refiner import PromptSettings, SamRefiner

LINES = {
    "decoding alone": (("predict",), ("decode",)),
    "with the encoder": (("set_image", "prompts", "predict"), ("encode", "refine")),
    "as in a round": (("set_image", "prompts", "predict"), ("refine",)),
}


def tiling(size: int, classes: int, seed: int) -> np.ndarray:
    """Initial masks (classes, size, size) bool: tiles, up to 5 in a row, with irregular borders."""
    columns = min(classes, 5)
    rows = -(-classes // columns)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    dx, dy = (waves(size, 8, seed + i) * 0.04 for i in range(2))
    column = np.clip(((x + dx) * columns).astype(int), 0, columns - 1)
    row = np.clip(((y + dy) * rows).astype(int), 0, rows - 1)
    tiles = row * columns + column
    return np.stack([tiles == index for index in range(classes)])


def waves(size: int, cells: int, seed: int) -> np.ndarray:
    """Smooth noise (size, size) float32 around 0."""
    coarse = np.random.default_rng(seed).normal(0, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def photo(size: int, seed: int) -> np.ndarray:
    """An image (size, size, 3) uint8 of smooth colours with grain."""
    colours = np.stack([waves(size, 12, seed + channel) for channel in range(3)], -1)
    grain = np.random.default_rng(seed).normal(0, 8, colours.shape)
    return np.clip(128 + 50 * colours + grain, 0, 255).astype(np.uint8)


class Loop:
    """The plain way: SamPredictor, prompt by prompt."""

    def __init__(self, sam, refiner, frame):
        self.predictor = SamPredictor(sam)
        self.refiner, self.frame = refiner, frame

    def take(self, embedding: torch.Tensor) -> None:
        """An embedding made elsewhere instead of `set_image`."""
        self.predictor.features, self.predictor.is_image_set = embedding, True
        self.predictor.original_size = (self.frame.height, self.frame.width)
        self.predictor.input_size = (self.frame.scaled_height, self.frame.scaled_width)

    def predict(self, parts, prompts, masks: np.ndarray) -> np.ndarray:
        """Refined masks (K, H, W) bool."""
        joined = np.zeros_like(masks)
        for (k, _), prompt in zip(parts, prompts, strict=True):
            answers, ious, _ = self.predictor.predict(
                point_coords=prompt.points / self.frame.scale,
                point_labels=np.array(prompt.labels),
                box=prompt.box / np.tile(self.frame.scale, 2),
                mask_input=prompt.mask[None],
            )
            joined[k] |= answers[ious.argmax()]
        return joined

    def run(self, image: np.ndarray, masks: np.ndarray, times: dict) -> np.ndarray:
        """Refined masks (K, H, W) bool; seconds of each step are added to `times`."""
        with clock(times, "set_image"):
            self.predictor.set_image(image)
        with clock(times, "prompts"):
            asked = self.refiner.prompts_for(self.predictor.features, self.frame, masks)
        with clock(times, "predict"):
            return self.predict(*asked, masks)


class Ours:
    """`SamRefiner` on the embedding of `SAMImageEncoder`."""

    def __init__(self, sam, refiner, frame):
        self.encoder = SAMImageEncoder(sam.image_encoder, input_size=frame.size)
        self.refiner, self.frame = refiner, frame

    @torch.inference_mode()
    def run(self, image: np.ndarray, masks: np.ndarray, times: dict) -> np.ndarray:
        """Refined masks (K, H, W) bool, by way of everything that a round does."""
        with clock(times, "encode"):
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            embedding = self.encoder(pixels)["sam"]
        with clock(times, "refine"):
            refined = self.refiner.refine(embedding, self.frame, masks)
        _, prompts = self.refiner.prompts_for(embedding, self.frame, masks)
        with clock(times, "decode"):
            self.decode(embedding, prompts)
        return np.stack([result.mask for result in refined])

    @torch.inference_mode()
    def decode(self, embedding: torch.Tensor, prompts: list) -> None:
        """What `refine` does but for making prompts and joining parts."""
        for _, logits, ious in decode(
            self.refiner.prompt_encoder,
            self.refiner.mask_decoder,
            embedding,
            prompts,
            self.refiner.settings.batch_size,
        ):
            (self.frame.to_image(best_of(logits, ious)[0]) > 0).numpy()


class clock:  # noqa: N801 - reads as a verb
    """Adds the seconds of a `with` block to a dict, on the wall and of this process's CPU time."""

    def __init__(self, times: dict, name: str):
        self.times, self.name = times, name

    def __enter__(self) -> None:
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_) -> None:
        self.times[self.name] += time.perf_counter() - self.start
        self.times[f"cpu {self.name}"] += time.process_time() - self.cpu


def make_sides(args: argparse.Namespace) -> tuple[Loop, Ours]:
    """Both sides over one SAM of random weights."""
    torch.manual_seed(0)
    sam = create_sam(args.model).eval()
    size = sam.image_encoder.img_size
    frame = Frame.padded(size, size, size)
    # Every answer is believed on both sides: random weights would fail the check against the
    # initial mask, and SamPredictor has none.
    settings = PromptSettings(min_iou_with_initial=0.0)
    if args.batch_size is not None:
        settings = replace(settings, batch_size=args.batch_size)
    refiner = SamRefiner(*decoder_parts(sam, size), settings=settings)
    return Loop(sam, refiner, frame), Ours(sam, refiner, frame)


def peak_mib() -> float:
    """Highest memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux


def print_memory(args: argparse.Namespace) -> None:
    """Run one side once in this process and print its peak; the child's end of `memory`."""
    loop, ours = make_sides(args)
    side, encodes = args.memory_of.split("+")[0], args.memory_of.endswith("+encoder")
    size = loop.frame.size
    masks = tiling(size, args.classes, 0)
    before = peak_mib()
    if encodes:
        (loop if side == "loop" else ours).run(photo(size, 0), masks, defaultdict(float))
    else:
        channels = loop.refiner.prompt_encoder.embed_dim
        embedding = torch.randn(1, channels, size // 16, size // 16)
        if side == "loop":
            loop.take(embedding)
            loop.predict(*loop.refiner.prompts_for(embedding, loop.frame, masks), masks)
        else:
            ours.refiner.refine(embedding, ours.frame, masks)
    print(json.dumps({"peak_mib": peak_mib(), "added_mib": peak_mib() - before}))


def measure(args: argparse.Namespace) -> dict:
    """Times of both sides, taken in turn, and the agreement of their masks."""
    loop, ours = make_sides(args)
    size, ious, runs = loop.frame.size, [], []
    for repeat in range(args.repeats):
        times: dict[str, float] = defaultdict(float)
        for seed in range(args.images):
            image, masks = photo(size, seed), tiling(size, args.classes, seed)
            theirs = loop.run(image, masks, times)
            found = ours.run(image, masks, times)
            if repeat == 0:
                union = (theirs | found).sum((1, 2))
                shared = (theirs & found).sum((1, 2))
                ious += np.where(union > 0, shared / np.maximum(union, 1), 1.0).tolist()
        runs.append(dict(times))
    best = {name: min(run[name] for run in runs) for name in runs[0]}
    lines = {}
    for line, (theirs, mine) in LINES.items():
        seconds = [sum(best[name] for name in names) / args.images for names in (theirs, mine)]
        cpu = [sum(best[f"cpu {name}"] for name in names) for names in (theirs, mine)]
        lines[line] = {
            "loop_s": seconds[0],
            "ours_s": seconds[1],
            "ratio": seconds[0] / seconds[1],
            "cpu_ratio": cpu[0] / cpu[1],
        }
    return {
        "lines": lines,
        "seconds_of_steps": {name: value / args.images for name, value in best.items()},
        "mask_iou_min": min(ious),
        "mask_iou_mean": float(np.mean(ious)),
        "masks": len(ious),
    }
