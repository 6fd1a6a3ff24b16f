"""Floating point operations of one training step, counted by torch, and the memory it peaks at.

Weights are random and text embeddings are replaced by random ones: their cost is paid once, not
per step. On a CPU take a small size and batch; convolutions and products grow with the pixels.

Example:
    python -m benchmarks.step_flops --config-file configs/stseg/stseg_convnextB_768.yaml \
        MODEL.STSEG.IMAGE_SIZE "[192, 192]" INPUT.CROP.SIZE "[192, 192]" \
        SOLVER.IMS_PER_BATCH 1 SOLVER.AMP.ENABLED False
"""

import argparse
import resource
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.utils.events import EventStorage
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report_file import write_report
from stseg.config import setup_cfg
from stseg.data.readers.folders import register_from_cfg
from stseg.engine import Trainer
from stseg.modeling.text.encoder import CLIPTextEncoder


def random_prompts(encoder: CLIPTextEncoder, prompts: Sequence[str]) -> torch.Tensor:
    """Unit vectors in place of `CLIPTextEncoder.encode_prompts`."""
    width = encoder.tower.clip.text_projection.shape[1]
    return F.normalize(torch.randn(len(prompts), width, device=encoder.device), dim=-1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one step and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    CLIPTextEncoder.encode_prompts = random_prompts
    random = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.SAM.CHECKPOINT", "random"]
    opts = [*random, "MODEL.TEXT.CACHE_DIR", "", *args.opts]
    cfg = setup_cfg(args.config_file, opts)
    register_from_cfg(cfg)
    report = count(Trainer(cfg))
    for name, flops in report["tflop"].items():
        print(f"{name:24s}{flops:10.3f} TFLOP")
    print(f"peak memory of the process {report['peak_gib']:.1f} GiB")
    write_report(args.json, report)


def count(trainer: Trainer) -> dict:
    """Counts by part of the model, forward and backward, of one step."""
    counter = FlopCounterMode(depth=2, display=False)
    with EventStorage(0), counter:
        trainer._trainer.iter = 0
        trainer._trainer.run_step()
    parts = {
        name: sum(ops.values()) / 1e12
        for name, ops in counter.get_flop_counts().items()
        if name.count(".") < 2  # the model and its parts
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"tflop": parts, "peak_gib": peak}


if __name__ == "__main__":
    main()
