"""Checkpoints that survive a kill at any moment, and loading weights to evaluate."""

import json
import logging
import os
import pickle
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from torch import nn

from stseg.checkpoint.export import FROZEN_PARTS
from stseg.checkpoint.published import load_published_state
from stseg.checkpoint.signatures import identify
from stseg.files import write_atomically

logger = logging.getLogger(__name__)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, text.encode("utf-8"))


class Checkpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic files, data-only loading and named errors.

    `last_checkpoint` is rewritten after the file it names is complete, so a SIGKILL leaves the
    previous checkpoint in charge.
    """

    def save(self, name: str, **kwargs: Any) -> None:
        """Save the model, every checkpointable and `kwargs` as ``<name>.pth`` and tag it last."""
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: item.state_dict() for key, item in self.checkpointables.items()})
        data.update(kwargs)
        self.write(name, data)
        self.tag_last_checkpoint(f"{name}.pth")

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write ``<name>.pth`` without making it the checkpoint to resume from."""
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        write_atomically(path, lambda file: torch.save(data, file))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint to resume from."""
        path = os.path.join(self.save_dir, "last_checkpoint")
        write_atomically(path, last_filename_basename.encode("utf-8"))

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint file; see the base class.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no torch checkpoint, or not one of this model.
        """
        # Detectron2 allows options after a question mark.
        if path and not os.path.isfile(PathManager.get_local_path(path.split("?")[0])):
            raise FileNotFoundError(
                f"MODEL.WEIGHTS: expected a checkpoint file, got {path!r}, which does not exist."
            )
        return super().load(path, *args, **kwargs)

    def _torch_load(self, f: str) -> dict[str, Any]:
        try:
            return torch.load(f, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
            raise ValueError(
                f"MODEL.WEIGHTS: expected a torch checkpoint, got {f!r} "
                f"({os.path.getsize(f)} bytes), which cannot be read: {error}"
            ) from error

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        state = {key.removeprefix("module."): v for key, v in checkpoint["model"].items()}
        found = list(state)
        if identify(found) not in ("stseg", "unknown"):
            load_published_state(self.model, state, "MODEL.WEIGHTS")
            return None
        wanted = self.model.state_dict()
        is_renamed = checkpoint.get("matching_heuristics", False)
        if wanted and not is_renamed and not any(key in wanted for key in found):
            raise ValueError(
                f"MODEL.WEIGHTS: expected weights of {type(self.model).__name__} "
                f"({_some(wanted)}), got {len(found)} entries that match none "
                f"({_some(found)}). Check that the config and the file belong together."
            )
        result = super()._load_model(checkpoint)
        # Exported files leave out the frozen encoders, which have files of their own.
        own_files = {part for part in FROZEN_PARTS if not any(k.startswith(part) for k in found)}
        absent = [k for k in result.missing_keys if k.startswith(tuple(own_files))]
        if absent:
            logger.info("%d tensors keep what their own files gave them.", len(absent))
            for key in absent:
                result.missing_keys.remove(key)
        return result


def _some(names: Any) -> str:
    return ", ".join([str(name) for name in list(names)[:3]] + ["..."])


def load_for_evaluation(model: nn.Module, path: str, save_dir: str = "") -> dict[str, Any]:
    """Load the weights a run would evaluate: the moving average if the file has one.

    Args:
        model: the bare model, changed in place.
        path: a checkpoint of ours or a published one; empty leaves the model as it is.
        save_dir: folder of a run; when given and it has a last checkpoint, that one is loaded.

    Returns:
        What else the file holds.
    """
    checkpointer = Checkpointer(model, save_dir)
    extra = checkpointer.resume_or_load(path, resume=bool(save_dir))
    average = extra.pop("ema", None)
    if average:
        logger.info("Using the moving average of %d parameters.", len(average))
        model.load_state_dict(average, strict=False)
    return extra
