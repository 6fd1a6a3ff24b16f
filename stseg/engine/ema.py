"""Exponential moving average of the weights that learn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of the parameters that require a gradient; the rest is shared with the model.

    A checkpointable object: its state is a flat dict of parameter name to tensor.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's present weights.

        Args:
            model: the bare model, not wrapped for several processes.
            decay: share of the old average kept at each update, in [0, 1).
        """
        self._params = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._decay = decay
        self._average: dict[str, Tensor] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the past: the average becomes the model's present weights."""
        self._average = {name: p.detach().clone() for name, p in self._params.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the model's present weights; once per optimizer step."""
        for name, param in self._params.items():
            self._average[name].lerp_(param.detach(), 1.0 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model; the raw weights come back on leaving."""
        raw = {name: p.detach().clone() for name, p in self._params.items()}
        self._copy_to_model(self._average)
        try:
            yield
        finally:
            self._copy_to_model(raw)

    @torch.no_grad()
    def _copy_to_model(self, values: dict[str, Tensor]) -> None:
        for name, param in self._params.items():
            param.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return self._average

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Take over saved averages.

        Raises:
            ValueError: if the names differ from those of the parameters that learn now.
        """
        different = sorted(set(state_dict) ^ set(self._params))
        if different:
            raise ValueError(
                f"ema: expected averages of the {len(self._params)} parameters that learn, got "
                f"{len(state_dict)}; {different[0]!r} is on one side only. "
                "Resume with the config the run was started with."
            )
        for name, value in state_dict.items():
            self._average[name].copy_(value)
