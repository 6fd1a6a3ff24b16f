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

from stseg.utils import check_output, config_path, write_atomically

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

#: Keys that name an encoder's own file.
_FILES = ("MODEL.CLIP.PRETRAINED", "MODEL.SAM.CHECKPOINT")


def export_weights(source: str, target: str, config_file: str = "") -> dict[str, str]:
    """Write the weights of a checkpoint, its moving average where it has one.

    Args:
        source: checkpoint of a training run.
        target: file to write; its folder exists.
        config_file: YAML that the checkpoint belongs to; "" for config.yaml beside it, else for
            what the shapes of its tensors tell.

    Returns:
        The parts that were left out, and the keys that name their own files.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the checkpoint cannot be read or does not fit the config whole, or `target`
            is the source or a file that is no export.
    """
    import torch

    from stseg.checkpoint import LOADED_NEXT, RANDOM, WeightFacts, check_fit, read_checkpoint

    check_output(target, "target", {"source": source}, _is_export)
    content = read_checkpoint(source)
    state = {**content["model"], **content.get("ema", {})}
    cfg = _config_for(state, source, config_file)
    model = _build(cfg, dict.fromkeys(_FILES, LOADED_NEXT))
    check_fit(model, state, "source", source)
    started_from_tag = not config_file and _has_config(source) and cfg.MODEL.WEIGHTS in ("", RANDOM)

    def may_go(part: str, key: str) -> bool:
        if key == "MODEL.CLIP.PRETRAINED" and _is_of_a_tag(cfg):
            return started_from_tag
        return _is_in_its_file(part, key, cfg, state)

    own_files = getattr(model, "own_files", {})
    left_out = {part: key for part, key in own_files.items() if may_go(part, key)}
    kept = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state.items()
        if not name.startswith(tuple(left_out))
    }
    exported = {"model": kept, **WeightFacts.of(content).beside()}
    write_atomically(target, lambda file: torch.save(exported, file))
    return left_out


def _has_config(source: str) -> bool:
    return Path(source).with_name("config.yaml").is_file()


def _is_of_a_tag(cfg: CfgNode) -> bool:
    """Whether open_clip would fetch CLIP."""
    import open_clip

    clip = cfg.MODEL.CLIP
    return clip.PRETRAINED in open_clip.list_pretrained_tags_by_model(clip.NAME)


def _is_in_its_file(part: str, key: str, cfg: CfgNode, state: dict[str, Tensor]) -> bool:
    """Whether a part's own file, where it can be read here, gives what the checkpoint holds."""
    import torch

    from stseg.checkpoint import LOADED_NEXT, RANDOM

    clip, sam = _FILES
    file = {clip: cfg.MODEL.CLIP.PRETRAINED, sam: cfg.MODEL.SAM.CHECKPOINT}[key]
    names = [name for name in state if name.startswith(part)]
    if not names or file in ("", RANDOM):
        return False
    try:
        model = _build(cfg, dict.fromkeys(_FILES, LOADED_NEXT) | {key: file})
    except (OSError, ValueError, RuntimeError) as error:
        logger.warning("%s cannot be read, %s* is kept: %s", key, part, error)
        return False
    found = model.state_dict()
    return all(name in found and torch.equal(found[name], state[name]) for name in names)


def _is_export(path: Path) -> bool:
    from stseg.checkpoint import read_checkpoint

    try:
        return set(read_checkpoint(str(path))) <= {"model", "facts"}
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
        cfg.merge_from_file(str(config_path(config_file or Path(source).with_name("config.yaml"))))
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
        left_out = export_weights(args.source, args.target, args.config_file)
        for part, key in left_out.items():
            logger.info("%s* is left out: %s has the same.", part, key)
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"python -m stseg.tools.export: error: {error.args[-1]}\n")


if __name__ == "__main__":
    main()
