"""Checkpoints that survive a kill at any moment, and loading weights to evaluate."""

import json
import logging
import os
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from stseg.checkpoint.facts import WeightFacts
from stseg.checkpoint.fit import check_fit, without_training_misfits
from stseg.checkpoint.frozen_parts import FrozenParts
from stseg.checkpoint.published import our_names
from stseg.checkpoint.reading import LOADED_NEXT, RANDOM, read_checkpoint, read_state_dict
from stseg.config import has_clip_beside
from stseg.utils import phase, write_atomically

logger = logging.getLogger(__name__)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, text.encode("utf-8"))


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic files, data-only loading and named errors.

    `last_checkpoint` is rewritten after the file it names is complete, so a SIGKILL leaves the
    previous checkpoint in charge.

    Attributes:
        partial: take what fits of a file and leave the rest as it is, with a warning; else a file
            must fit whole.
    """

    partial = False
    _path = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As the base class."""
        super().__init__(*args, **kwargs)
        self._frozen = FrozenParts()

    def save(self, name: str, *, shared: bool = False, **kwargs: Any) -> None:
        """Save the model, every checkpointable and `kwargs` as ``<name>.pth`` and tag it last.

        Args:
            name: of the file, without suffix.
            shared: frozen parts go into a file of their own, which other checkpoints share.
            kwargs: what else to save.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        if shared:
            data = self._frozen.split(self.model, self.save_dir)
        else:
            data = {"model": self.model.state_dict()}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data.update(kwargs)
        self.write(name, data)
        self.tag_last_checkpoint(f"{name}.pth")

    @phase("checkpoint")
    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write ``<name>.pth``, with the model's facts; it is not the one to resume from."""
        data |= getattr(self.model, "facts", WeightFacts()).beside()
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        write_atomically(path, lambda file: torch.save(data, file))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint to resume from."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        write_atomically(path, last_filename_basename.encode("utf-8"))

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint file, whole or not at all; see the base class.

        Args:
            path: file; "" or "random" leaves the start values.
            args: as in the base class.
            kwargs: likewise.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no checkpoint, or lacks or adds tensors, or has other shapes than
                the model as configured, unless the checkpointer is `partial`.
        """
        if path == RANDOM:
            path = ""
        if path and not os.path.isfile(PathManager.get_local_path(path)):
            raise FileNotFoundError(
                f"MODEL.WEIGHTS: expected a checkpoint file, got {path!r}, which does not exist."
            )
        self._path = path
        try:
            content = super().load(path, *args, **kwargs)
            if path and hasattr(self.model, "facts"):
                self.model.facts = WeightFacts.of(content)
            return content
        finally:
            self._parsed_url_during_load = None  # or Detectron2 refuses to be called again

    def _load_file(self, filename: str) -> dict[str, Any]:
        # Not the base class's: it unpickles .pkl and .pyth, and so runs what they hold.
        return read_checkpoint(filename, "MODEL.WEIGHTS")

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        state, kind = our_names(checkpoint["model"], "MODEL.WEIGHTS")
        wanted = self.model.state_dict()
        if wanted and not any(key in wanted for key in state):
            raise ValueError(
                f"MODEL.WEIGHTS: expected weights of {type(self.model).__name__} "
                f"({_some(wanted)}), got {len(state)} entries that match none "
                f"({_some(state)}). Check that the config and the file belong together."
            )
        state, left_out = without_training_misfits(self.model, state)
        if left_out:
            text = "%s: %s left out, which only losses use and the config has otherwise."
            logger.info(text, self._path, ", ".join(left_out))
        checkpoint["model"] = state
        if self.partial:
            return super()._load_model(checkpoint)  # logs what does not fit
        check_fit(self.model, state, "MODEL.WEIGHTS", self._path, kind=kind)
        result = super()._load_model(checkpoint)
        if result.missing_keys:  # of frozen parts, which have files of their own
            logger.debug("%d tensors keep what their own files gave.", len(result.missing_keys))
            result.missing_keys.clear()
        return result


def _some(names: Any) -> str:
    return ", ".join([str(name) for name in list(names)[:3]] + ["..."])


def load_for_evaluation(model: nn.Module, path: str, save_dir: str = "") -> dict[str, Any]:
    """Load the weights a run would evaluate: the moving average if the file has one.

    Args:
        model: the bare model, changed in place.
        path: a checkpoint of ours or a published one; "random" leaves the model as it is.
        save_dir: folder of a run whose last checkpoint is loaded instead; "" for none.

    Returns:
        What else the file holds.

    Raises:
        FileNotFoundError: if there is no such file, or `save_dir` holds no checkpoint.
        ValueError: if no weights are named, or they do not fit, see `Checkpointer.load`.
    """
    check_weights(path, save_dir)
    if path == RANDOM and not save_dir:
        logger.warning("MODEL.WEIGHTS is 'random': nothing has been learnt, results mean nothing.")
    checkpointer = Checkpointer(model, save_dir)
    extra = checkpointer.resume_or_load(path, resume=bool(save_dir))
    average = extra.pop("ema", None)
    if average:
        logger.info("Using the moving average of %d parameters.", len(average))
        model.load_state_dict(checked_average(model, average), strict=False)
    return extra


def weights_file(path: str, save_dir: str = "") -> str:
    """The file on this machine that `load_for_evaluation` reads, "" where it reads none."""
    if save_dir:
        return Checkpointer(nn.Identity(), save_dir).get_checkpoint_file()
    return "" if path in ("", RANDOM) else PathManager.get_local_path(path)


def spare_encoder_files(cfg: CfgNode, save_dir: str = "") -> CfgNode:
    """A config that builds no encoder from a file of its own which the checkpoint holds whole.

    SED's published files hold all of CLIP, our own of a training CLIP and SAM: they need neither a
    download nor SAM's file. Only for what loads such a checkpoint next, and nothing in part.

    Args:
        cfg: names the checkpoint as MODEL.WEIGHTS; left as it is.
        save_dir: folder of a run whose last checkpoint is loaded instead; "" for none.
    """
    path = weights_file(cfg.MODEL.WEIGHTS, save_dir)
    if not path:
        return cfg
    state, _ = our_names(read_state_dict(path, "MODEL.WEIGHTS"), "MODEL.WEIGHTS")
    parts = {name.split(".")[0] for name in state}
    cfg = cfg.clone()
    cfg.defrost()
    if "sam_encoder" in parts:
        cfg.MODEL.SAM.CHECKPOINT = LOADED_NEXT
    if {"image_encoder", "text_encoder"} <= parts and not has_clip_beside(cfg):
        cfg.MODEL.CLIP.PRETRAINED = LOADED_NEXT
    cfg.freeze()
    return cfg


def checked_average(model: nn.Module, average: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's moving average, if all of it has its place in the model.

    Raises:
        ValueError: if a name or a shape is not the model's.
    """
    own = model.state_dict()
    wrong = [n for n, v in average.items() if n not in own or own[n].shape != v.shape]
    if wrong:
        raise ValueError(
            f"ema: expected averages of parameters of {type(model).__name__}, got {len(wrong)} of "
            f"{len(average)} that are none of it as configured ({_some(wrong)})."
        )
    return average


def check_weights(path: str, save_dir: str = "") -> None:
    """Refuse to go on without trained weights, unless "random" is written out.

    Args:
        path: MODEL.WEIGHTS.
        save_dir: folder of the run to be resumed, "" where none is.

    Raises:
        FileNotFoundError: if that folder holds no checkpoint.
        ValueError: if neither is given.
    """
    if save_dir and not os.path.isfile(os.path.join(save_dir, "last_checkpoint")):
        raise FileNotFoundError(
            f"--resume: expected a run's checkpoint in OUTPUT_DIR {save_dir!r}, got none. Correct "
            "the folder, or name a file as MODEL.WEIGHTS without --resume."
        )
    if not save_dir and not path:
        raise ValueError(
            "MODEL.WEIGHTS: expected a file with trained weights, got none. Name one, or write "
            f"{RANDOM!r} to go on with start values, whose results mean nothing."
        )
