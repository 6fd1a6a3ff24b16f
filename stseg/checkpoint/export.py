"""Make a small file to ship out of a training checkpoint.

    python -m stseg.checkpoint.export output/model_final.pth stseg_mini.pth

The file holds what was trained, in float16. The frozen encoders (text tower, SAM) are left out:
they come from the files that `MODEL.CLIP.PRETRAINED` and `MODEL.SAM.CHECKPOINT` name.
"""

import argparse
from pathlib import Path

import torch

from stseg.checkpoint.published import read_checkpoint
from stseg.files import write_atomically

#: Parts that never train and have files of their own.
FROZEN_PARTS = ("text_encoder.", "sam_encoder.")


def export_weights(source: str, target: str) -> None:
    """Write the trained weights of a checkpoint, its moving average where it has one.

    Args:
        source: checkpoint of a training run.
        target: file to write; its folder exists.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it cannot be read, or is not one of ours.
    """
    content = read_checkpoint(source)
    state = {**content["model"], **content.get("ema", {})}
    kept = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
        if not name.startswith(FROZEN_PARTS)
    }
    write_atomically(target, lambda file: torch.save({"model": kept}, file))


def main() -> None:
    """Command line, see the module's head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint of a training run")
    parser.add_argument("target", type=Path, help="file to write")
    args = parser.parse_args()
    export_weights(args.source, args.target)


if __name__ == "__main__":
    main()
