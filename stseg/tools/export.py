"""Make a small file to ship out of a training checkpoint.

    python -m stseg.tools.export output/model_final.pth stseg_mini.pth

The file holds what was trained, in float16. The frozen encoders (text tower, SAM) are left out:
they come from the files that `MODEL.CLIP.PRETRAINED` and `MODEL.SAM.CHECKPOINT` name. What is
exported must fit a config whole: that of the run, beside the checkpoint, or --config-file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stseg.utils import check_output, write_atomically

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn


def export_weights(source: str, target: str, config_file: str = "") -> None:
    """Write the trained weights of a checkpoint, its moving average where it has one.

    Args:
        source: checkpoint of a training run.
        target: file to write; its folder exists.
        config_file: YAML that the checkpoint belongs to; "" for config.yaml beside it, else for
            what the shapes of its tensors tell.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the checkpoint cannot be read or does not fit the config whole, or `target`
            is the source or a file that is no export.
    """
    import torch

    from stseg.checkpoint import FROZEN_PARTS, check_fit, read_checkpoint

    check_output(target, "target", {"source": source}, _is_export)
    content = read_checkpoint(source)
    state = {**content["model"], **content.get("ema", {})}
    check_fit(_model_for(state, source, config_file), state, "source", source)
    kept = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
        if not name.startswith(FROZEN_PARTS)
    }
    write_atomically(target, lambda file: torch.save({"model": kept}, file))


def _is_export(path: Path) -> bool:
    from stseg.checkpoint import read_checkpoint

    try:
        return set(read_checkpoint(str(path))) == {"model"}
    except ValueError:
        return False


def _model_for(state: dict[str, Tensor], source: str, config_file: str) -> nn.Module:
    """A model as the checkpoint's config describes it, with start values."""
    from detectron2.config import get_cfg

    from stseg.checkpoint import LOADED_NEXT
    from stseg.config import add_stseg_config
    from stseg.modeling import build_model

    cfg = get_cfg()
    add_stseg_config(cfg)
    beside = Path(source).with_name("config.yaml")
    if config_file or beside.is_file():
        cfg.merge_from_file(config_file or str(beside))
    else:
        _describe(cfg, state, source)
    cfg.MODEL.CLIP.PRETRAINED = cfg.MODEL.SAM.CHECKPOINT = LOADED_NEXT
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg)


def _describe(cfg: CfgNode, state: dict[str, Tensor], source: str) -> None:
    from stseg.checkpoint import config_of, shapes_of

    found = config_of(shapes_of(state))
    if "MODEL.CLIP.NAME" not in found:
        raise ValueError(
            f"source: expected a checkpoint with its config.yaml beside it, or --config-file, got "
            f"{source!r} without, whose tensors ({', '.join(list(state)[:3])}, ...) tell no config."
        )
    for key, value in found.items():
        cfg.merge_from_list([key, value])


def main() -> None:
    """Command line, see the module's head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint of a training run")
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--config-file", default="", help="default: config.yaml beside the source")
    args = parser.parse_args()
    try:
        export_weights(args.source, args.target, args.config_file)
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"python -m stseg.tools.export: error: {error.args[-1]}\n")


if __name__ == "__main__":
    main()
