"""The weights that a run with rounds may come back to, in files of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm
from torch import nn

from stseg.checkpoint import WeightFacts, changeable_state, read_checkpoint
from stseg.utils import phase, write_atomically


class RoundWeights:
    """Weights, their average and the optimizer's state, at the start and between rounds.

    Attributes:
        folder: of the run's self-training.
    """

    def __init__(self, folder: Path, model: nn.Module, average: Any = None) -> None:
        """Keep the parts; `model` is bare, `average` as `SamPseudoLabelHook` takes it."""
        self.folder, self._model, self._average = folder, model, average

    def before(self, number: int) -> Path:
        """The file of a round's start."""
        return self.folder / f"round_{number:02d}_start.pth"

    def after(self, number: int) -> Path:
        """The file of a round's end, 0 for the start of all; it is that of the next one's start."""
        return self.before(number + 1) if number else self.folder / "start.pth"

    def write(self, path: Path, optimizer: torch.optim.Optimizer) -> None:
        """Keep the present weights; rank 0 alone writes."""
        if not comm.is_main_process():
            return
        content = {
            "model": changeable_state(self._model),
            "average": self._average.state_dict() if self._average is not None else None,
            "optimizer": optimizer.state_dict(),
            **getattr(self._model, "facts", WeightFacts()).beside(),
        }
        write_atomically(path, lambda file: torch.save(content, file))

    @phase("roll back")
    def read(self, path: Path, optimizer: torch.optim.Optimizer) -> None:
        """Go on with the weights of a file.

        Raises:
            FileNotFoundError: if there is no such file.
        """
        content = read_checkpoint(str(existing(path)))
        self._model.load_state_dict(content["model"], strict=False)
        self._take_facts(WeightFacts.of(content))
        if self._average is not None:
            self._average.load_state_dict(content["average"])
        optimizer.load_state_dict(content["optimizer"])

    @contextmanager
    def held(self, path: Path) -> Iterator[None]:
        """Inside, the model holds those weights of a file that count."""
        present, facts = changeable_state(self._model), getattr(self._model, "facts", None)
        saved = read_checkpoint(str(existing(path)))
        self._model.load_state_dict({**saved["model"], **(saved["average"] or {})}, strict=False)
        self._take_facts(WeightFacts.of(saved))
        try:
            yield
        finally:
            self._model.load_state_dict(present, strict=False)
            self._take_facts(facts)

    def _take_facts(self, facts: WeightFacts | None) -> None:
        """A model of another project has none."""
        if hasattr(self._model, "facts"):
            self._model.facts = facts

    def keep_only(self, paths: tuple[Path, ...]) -> None:
        """Remove the files of rounds but for some; the start of all stays.

        Rank 0 alone: the others may be here before the checkpoint is written.
        """
        if comm.is_main_process():
            for path in self.folder.glob("round_*_start.pth"):
                if path not in paths:
                    path.unlink(missing_ok=True)


def existing(path: Path) -> Path:
    """A file that an interrupted run left.

    Raises:
        FileNotFoundError: says what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--resume: expected the file {path.name} of the interrupted run, got none at {path}. "
            "Put it back, or start anew without --resume."
        )
    return path
