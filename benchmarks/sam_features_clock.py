"""SAM's embeddings computed, written and read, timed for `benchmarks.sam_features`."""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.case_settings import Case
from benchmarks.inference_sides import our_side, photos
from stseg.modeling.text import WeightsHash
from stseg.self_training.sam_features import SamFeatures, pixels_digest


def seconds_of(work: Callable[[], object], images: int = 1, repeats: int = 1) -> dict[str, float]:
    """Least seconds per image of some calls, on the wall and of all threads together."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {"wall": min(wall) / images, "cpu": min(cpu) / images}


def drop_from_memory(folder: Path) -> bool:
    """Have the files of a folder read from the disk next time; False where that cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*.tensor"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


@torch.no_grad()
def measure(args: argparse.Namespace, folder: Path) -> dict:
    """All figures; seconds are per image."""
    case = Case(
        "stseg",
        classes=args.names,
        batch=args.images,
        image_size=args.image_size,
        answer="labels",
        device=args.device,
        config_file=str(args.config_file),
        opts=["MODEL.SAM.INPUT_SIZE", args.sam_size, *args.opts],
    )
    side = our_side(case)
    encoder, features = side.model.sam_encoder, SamFeatures(folder)
    images = photos(case)
    pixels = [x["image"][None].to(args.device, torch.float32) for x in images]

    def wait() -> None:
        if torch.device(args.device).type == "cuda":
            torch.cuda.synchronize()

    def embed() -> list[torch.Tensor]:
        found = [encoder(image)["sam"] for image in pixels]
        wait()
        return found

    def predict() -> None:
        for image in images:
            side.ask([image], case.classes)
        wait()

    size = (encoder.input_size, encoder.input_size)
    prepared = torch.rand(1, 3, *size, device=args.device)
    weights_s = seconds_of(lambda: WeightsHash().of(encoder.encoder))
    plain = embed()  # and the first call allocates
    encoder_s = {"computed": seconds_of(embed, args.images, args.repeats)}
    with features.used_by(encoder):
        encoder_s["computed and written"] = seconds_of(embed, args.images)
        encoder_s["read"] = seconds_of(embed, args.images, args.repeats)
        equal = all(torch.equal(a, b) for a, b in zip(plain, embed(), strict=True))
        if drop_from_memory(folder):
            encoder_s["read from the disk"] = seconds_of(embed, args.images)
        predict()
        read = seconds_of(predict, args.images, args.repeats)
    computed = seconds_of(predict, args.images, args.repeats)
    files = list(folder.rglob("*.tensor"))
    return {
        "encoder_s": encoder_s,
        "prediction_s": {"computed": computed, "read": read},
        "digest_of_pixels_s": seconds_of(lambda: pixels_digest(prepared), repeats=3),
        "digest_of_weights_s": weights_s,
        "mib_per_image": sum(p.stat().st_size for p in files) / len(files) / 2**20,
        "equal": equal,
    }
