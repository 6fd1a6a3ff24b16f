"""One optimizer step: micro-batches, mixed precision, several processes, finite losses."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

logger = logging.getLogger(__name__)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def amp_dtype(enabled: bool, name: str, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision on a device, None for float32; the CPU has no fp16."""
    if not enabled:
        return None
    if name == "fp16" and device.type == "cpu":
        logger.warning("SOLVER.AMP.DTYPE: fp16 does not train on the CPU, bf16 is used instead.")
        name = "bf16"
    return _DTYPES[name]


def _gradient_scaler(device: torch.device, enabled: bool) -> Any:
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # torch < 2.3


class StepTrainer(SimpleTrainer):
    """The inner trainer: `SimpleTrainer` with accumulation, autocast and loss scaling.

    The loader yields what one process needs for a whole optimizer step; it is split here, so
    an iteration means the same to loader, schedule, hooks and checkpoints.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        *,
        accumulate_steps: int = 1,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Put the model into training mode and keep the parts.

        Args:
            model: bare or wrapped in DistributedDataParallel.
            data_loader: yields lists of items, their length a multiple of `accumulate_steps`.
            optimizer: its `step` clips, if there is clipping.
            accumulate_steps: micro-batches per step.
            dtype: type of mixed precision; None trains in float32.
        """
        super().__init__(model, data_loader, optimizer)
        self.accumulate_steps = accumulate_steps
        self.dtype = dtype
        self.device = next(model.parameters()).device
        #: Changes a micro-batch before the model sees it; None leaves it alone.
        self.prepare: Callable[[list], list] | None = None
        self.grad_scaler = _gradient_scaler(self.device, dtype == torch.float16)

    def run_step(self) -> None:
        """Run one optimizer step.

        Raises:
            FloatingPointError: if a loss is not finite; the weights are left unchanged.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        losses: dict[str, Tensor] = {}
        for is_last, batch in self._micro_batches(data):
            with self._gradient_sync(is_last):
                for name, value in self._backward(batch).items():
                    losses[name] = losses.get(name, 0) + value.detach() / self.accumulate_steps
        self.after_backward()
        self._check_finite(losses)
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def start_data(self) -> None:
        """Create the loader's iterator now: doing so draws a random number."""
        _ = self._data_loader_iter

    def _micro_batches(self, data: list) -> Iterator[tuple[bool, list]]:
        size = len(data) // self.accumulate_steps
        for k in range(self.accumulate_steps):
            yield k == self.accumulate_steps - 1, data[k * size : (k + 1) * size]

    def _gradient_sync(self, is_last: bool) -> Any:
        # Gradients travel between processes once per step, with the last micro-batch.
        if isinstance(self.model, DistributedDataParallel) and not is_last:
            return self.model.no_sync()
        return nullcontext()

    def _backward(self, batch: list) -> dict[str, Tensor]:
        if self.prepare is not None:
            batch = self.prepare(batch)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            losses = self.model(batch)
            total = sum(losses.values()) / self.accumulate_steps
        self.grad_scaler.scale(total).backward()
        return losses

    def _check_finite(self, losses: Mapping[str, Tensor]) -> None:
        # One transfer for all losses; every process checks its own.
        values = torch.stack(list(losses.values())).float().cpu()
        if torch.isfinite(values).all():
            return
        bad = {name: value for name, value in zip(losses, values.tolist(), strict=True)}
        bad = {name: value for name, value in bad.items() if value - value != 0}
        raise FloatingPointError(
            f"losses: expected finite numbers, got {bad} at iteration {self.iter}. "
            "Lower SOLVER.BASE_LR, or train without SOLVER.AMP.ENABLED."
        )

    def state_dict(self) -> dict[str, Any]:
        """Iteration, optimizer and loss scale."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; a run may change its precision on resume."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler") and self.grad_scaler.is_enabled():
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
