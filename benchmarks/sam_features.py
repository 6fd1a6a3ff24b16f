"""What `SELF_TRAINING.SAM_CACHE_DIR` saves: SAM's embeddings computed, and read from a folder.

First SAM's encoder by itself, per image: computed; computed and written, as in the first round;
read, as in later rounds, from the system's memory of files and from the disk (Linux: the files are
dropped from that memory before). Then a whole prediction, as labelling and guard make them. Images,
weights and text embeddings are random; time does not depend on them. What is read must equal what
was computed, to the last bit. Beside seconds on the wall stand those of this process's CPU time,
which other programs on the machine disturb less; they leave out waiting for the disk, and mean
nothing on a GPU.

Example:
    OMP_NUM_THREADS=1 python -m benchmarks.sam_features --images 1 --json output/sam_features.json
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.inference_sides import Case, our_side, photos
from benchmarks.pseudo_labels import origin
from benchmarks.report_file import markdown_table, write_report
from stseg.modeling.text.cache import WeightsHash
from stseg.self_training.sam_features import SamFeatures, pixels_digest

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "stseg" / "stseg_convnextB_768.yaml"


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
    for path in folder.rglob("*.sam"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


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
    files = list(folder.rglob("*.sam"))
    return {
        "encoder_s": encoder_s,
        "prediction_s": {"computed": computed, "read": read},
        "digest_of_pixels_s": seconds_of(lambda: pixels_digest(prepared), repeats=3),
        "digest_of_weights_s": weights_s,
        "mib_per_image": sum(p.stat().st_size for p in files) / len(files) / 2**20,
        "equal": equal,
    }


def show(report: dict, names: int) -> None:
    """Print the table."""
    rows = []
    titles = {"encoder_s": "SAM's encoder", "prediction_s": f"prediction, {names} names"}
    for key, title in titles.items():
        for label, seconds in report[key].items():
            rows.append([f"{title}: {label}", f"{seconds['wall']:.2f}", f"{seconds['cpu']:.2f}"])
    print("\n" + markdown_table(["seconds per image", "wall", "CPU"], rows))
    pixels, weights = (report[f"digest_of_{of}_s"]["cpu"] for of in ("pixels", "weights"))
    print(
        f"\n{report['mib_per_image']:.2f} MiB per image. Digest of the pixels {pixels:.3f} s (in "
        f"the figures above), of the weights {weights:.2f} s once per run. "
        f"Read equals computed: {'yes' if report['equal'] else 'NO'}."
    )


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, default=CONFIG)
    parser.add_argument("--names", type=int, default=150)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=768, help="working size in pixels")
    parser.add_argument("--sam-size", type=int, default=1024, help="MODEL.SAM.INPUT_SIZE")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="on the disk to be measured; a new one below it is used")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("opts", nargs="*", help="keys and values of the config")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder, torch.no_grad():
        figures = measure(args, Path(folder))
    report = {**origin("benchmarks.sam_features", argv), **figures}
    show(report, args.names)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
