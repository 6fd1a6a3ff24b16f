"""Make a small file to ship out of a training checkpoint.

    python -m stseg.tools.export output/model_final.pth stseg_mini.pth

The file holds all that is not in files of its own, in float16. Text tower and SAM are left out
where they equal, to the last bit, what `MODEL.CLIP.PRETRAINED` and `MODEL.SAM.CHECKPOINT` name;
those of another start, such as SED's tuned CLIP, are kept. A CLIP named by a tag is not fetched: it
is left out after a run that has config.yaml beside and started from nothing else. What is exported
must fit a config whole: that of the run, beside the checkpoint, or --config-file.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from stseg.utils import check_output, write_atomically

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn

logger = logging.getLogger(__name__)


#: Parts that may come from files of their own, and the keys that name these.
OWN_FILES = {"text_encoder.": "MODEL.CLIP.PRETRAINED", "sam_encoder.": "MODEL.SAM.CHECKPOINT"}


def export_weights(source: str, target: str, config_file: str = "") -> tuple[str, ...]:
    """Write the weights of a checkpoint, its moving average where it has one.

    Args:
        source: checkpoint of a training run.
        target: file to write; its folder exists.
        config_file: YAML that the checkpoint belongs to; "" for config.yaml beside it, else for
            what the shapes of its tensors tell.

    Returns:
        The parts that were left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the checkpoint cannot be read or does not fit the config whole, or `target`
            is the source or a file that is no export.
    """
    import torch

    from stseg.checkpoint import LOADED_NEXT, RANDOM, check_fit, read_checkpoint

    check_output(target, "target", {"source": source}, _is_export)
    content = read_checkpoint(source)
    state = {**content["model"], **content.get("ema", {})}
    cfg = _config_for(state, source, config_file)
    model = _build(cfg, dict.fromkeys(OWN_FILES.values(), LOADED_NEXT))
    check_fit(model, state, "source", source)
    started_from_tag = not config_file and _has_config(source) and cfg.MODEL.WEIGHTS in ("", RANDOM)

    def may_go(part: str) -> bool:
        if _is_of_a_tag(part, model, cfg):
            return started_from_tag
        return _is_in_its_file(part, cfg, state)

    left_out = tuple(filter(may_go, OWN_FILES))
    kept = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
        if not name.startswith(left_out)
    }
    write_atomically(target, lambda file: torch.save({"model": kept}, file))
    return left_out


def _has_config(source: str) -> bool:
    return Path(source).with_name("config.yaml").is_file()


def _is_of_a_tag(part: str, model: nn.Module, cfg: CfgNode) -> bool:
    """Whether open_clip would fetch a part; a system's own text encoder is none of it."""
    import open_clip

    from stseg.modeling.text import CLIPTextEncoder

    if part != "text_encoder." or not isinstance(
        getattr(model, "text_encoder", None), CLIPTextEncoder
    ):
        return False
    clip = cfg.MODEL.CLIP
    tags = open_clip.list_pretrained_tags_by_model(clip.NAME)
    return clip.PRETRAINED in tags


def _is_in_its_file(part: str, cfg: CfgNode, state: dict[str, Tensor]) -> bool:
    """Whether a part's own file, where it can be read here, gives what the checkpoint holds."""
    import torch

    from stseg.checkpoint import LOADED_NEXT, RANDOM

    given = {
        "MODEL.CLIP.PRETRAINED": cfg.MODEL.CLIP.PRETRAINED,
        "MODEL.SAM.CHECKPOINT": cfg.MODEL.SAM.CHECKPOINT,
    }
    own = OWN_FILES[part]
    names = [name for name in state if name.startswith(part)]
    if not names or given[own] in ("", RANDOM):
        return False
    try:
        model = _build(cfg, dict.fromkeys(given, LOADED_NEXT) | {own: given[own]})
    except (OSError, ValueError, RuntimeError) as error:
        logger.warning("%s cannot be read, %s* is kept: %s", own, part, error)
        return False
    found = model.state_dict()
    return all(name in found and torch.equal(found[name], state[name]) for name in names)


def _is_export(path: Path) -> bool:
    from stseg.checkpoint import read_checkpoint

    try:
        return set(read_checkpoint(str(path))) == {"model"}
    except ValueError:
        return False


def _config_for(state: dict[str, Tensor], source: str, config_file: str) -> CfgNode:
    """The config that a checkpoint belongs to."""
    from detectron2.config import get_cfg

    from stseg.checkpoint import config_of, shapes_of
    from stseg.config import add_stseg_config

    cfg = get_cfg()
    add_stseg_config(cfg)
    if config_file or _has_config(source):
        cfg.merge_from_file(config_file or str(Path(source).with_name("config.yaml")))
    else:
        found = config_of(shapes_of(state))
        if "MODEL.CLIP.NAME" not in found:
            raise ValueError(
                "source: expected a checkpoint with its config.yaml beside it, or --config-file, "
                f"got {source!r} without, whose tensors ({', '.join(list(state)[:3])}, ...) tell "
                "no config."
            )
        for key, value in found.items():
            cfg.merge_from_list([key, value])
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def _build(cfg: CfgNode, files: dict[str, str]) -> nn.Module:
    """A model with start values, but for encoders whose files are named."""
    from stseg.modeling import build_model

    cfg = cfg.clone()
    cfg.merge_from_list([part for pair in files.items() for part in pair])
    return build_model(cfg)


def main() -> None:
    """Command line, see the module's head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="checkpoint of a training run")
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--config-file", default="", help="default: config.yaml beside the source")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        for part in export_weights(args.source, args.target, args.config_file):
            logger.info("%s* is left out: %s has the same.", part, OWN_FILES[part])
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"python -m stseg.tools.export: error: {error.args[-1]}\n")


if __name__ == "__main__":
    main()
