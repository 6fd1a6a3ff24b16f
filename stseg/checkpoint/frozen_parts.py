"""Frozen tensors of a run, which its checkpoints share in a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stseg.checkpoint.state import changeable_names, weights_digest
from stseg.utils import write_atomically

#: In a checkpoint: the name of the file beside it that holds the rest of the model.
FROZEN = "frozen"
#: Bytes from which on it is worth a file.
_LEAST = 1 << 20


class FrozenParts:
    """What no training changes, written once: a frozen SAM-B alone is 375 MB a checkpoint."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._written: tuple[Any, str] = ((), "")

    def split(self, model: nn.Module, folder: str) -> dict[str, Any]:
        """The model's part of a checkpoint, and the name of the file with what is left out.

        Args:
            model: the bare model.
            folder: of the checkpoint; the file is written where it is not there.
        """
        state, changing = model.state_dict(), changeable_names(model)
        frozen = {name: value for name, value in state.items() if name not in changing}
        if sum(value.nbytes for value in frozen.values()) < _LEAST:
            return {"model": state}
        stamp = [(name, value.data_ptr(), value._version) for name, value in frozen.items()]
        if self._written[0] != stamp:  # loading writes anew
            self._written = (stamp, f"model_frozen_{weights_digest(frozen)[:16]}.pth")
        path = Path(folder, self._written[1])
        if not path.is_file():
            write_atomically(path, lambda file: torch.save({"model": frozen}, file))
        return {"model": {n: v for n, v in state.items() if n in changing}, FROZEN: path.name}


def with_frozen(content: dict[str, Any], path: Path, load: Any) -> dict[str, Any]:
    """A checkpoint with what it has left out, if anything.

    Args:
        content: of the file.
        path: of the file.
        load: reads another one.

    Raises:
        FileNotFoundError: if the file with the frozen parts is gone.
    """
    name = content.get(FROZEN)
    if not isinstance(name, str) or not isinstance(content.get("model"), dict):
        return content
    beside = path.with_name(Path(name).name)
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path}: expected the frozen parts of its model beside it, in {beside.name}, got no "
            "such file. Keep the two together; model_final.pth and model_best.pth are whole."
        )
    shared: dict[str, Tensor] = load(str(beside))["model"]
    rest = {key: value for key, value in content.items() if key != FROZEN}
    return {**rest, "model": {**shared, **content["model"]}}
