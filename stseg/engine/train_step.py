"""One optimizer step: micro-batches, mixed precision, several processes, finite losses."""

import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stseg.utils import phase

logger = logging.getLogger(__name__)

#: Steps that a loss scale may leave out in a row: 65536 halved so often is less than 1.
_MOST_LEFT_OUT = 20

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


def check_losses(losses: Mapping[str, Tensor], where: str) -> None:
    """Refuse losses that are not finite; every process checks its own.

    Args:
        losses: scalars by name.
        where: the step, for the message.

    Raises:
        FloatingPointError: names them.
    """
    values = torch.stack(list(losses.values())).float().cpu()  # one transfer for all
    named = zip(losses, values.tolist(), strict=True)
    if bad := {name: value for name, value in named if not math.isfinite(value)}:
        raise FloatingPointError(
            f"losses: expected finite numbers, got {bad} {where}. The weights are left as they "
            "were. Lower SOLVER.BASE_LR, or train without SOLVER.AMP.ENABLED."
        )


def check_gradients(parameters: Iterable[tuple[str, nn.Parameter]], where: str) -> None:
    """Refuse gradients that are not finite, as a root at 0 gives them under a finite loss.

    Args:
        parameters: with their names.
        where: the step, for the message.

    Raises:
        FloatingPointError: names the first tensors.
    """
    grads = {name: param.grad for name, param in parameters if param.grad is not None}
    if not grads:
        return
    # The largest magnitude: without a temporary, without overflow, and NaN stays NaN.
    largest = [torch.linalg.vector_norm(grad, torch.inf).float() for grad in grads.values()]
    finite = torch.isfinite(torch.stack(largest)).tolist()
    bad = [name for name, is_good in zip(grads, finite, strict=True) if not is_good]
    if bad:
        raise FloatingPointError(
            f"gradients: expected finite numbers, got NaN or infinity in {len(bad)} of "
            f"{len(grads)} tensors ({', '.join(bad[:3])}) {where}. The weights are left as they "
            "were. Lower SOLVER.BASE_LR, or train without SOLVER.AMP.ENABLED."
        )


def _images(data: Sequence[Any]) -> str:
    """The images of a step, for messages."""
    names = [item["file_name"] for item in data if isinstance(item, dict) and "file_name" in item]
    return f" (images {', '.join(names[:8])})" if names else ""


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
        self.grad_scaler = _gradient_scaler(self.device, dtype == torch.float16)
        self._left_out = 0  # steps in a row that the loss scale was too high for

    @phase("training step")
    def run_step(self) -> None:
        """Run one optimizer step.

        Raises:
            FloatingPointError: if a loss or a gradient is not finite; the weights are left
                unchanged. With a loss scale such a step is left out, and only many in a row are
                an error.
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
        where = f"at iteration {self.iter}{_images(data)}"
        check_losses(losses, where)
        if self.grad_scaler.is_enabled():
            self._write_metrics(losses, data_time)
            self._update_scaled(where)
            return
        check_gradients(self.model.named_parameters(), where)
        self._write_metrics(losses, data_time)
        self.optimizer.step()

    def _update_scaled(self, where: str) -> None:
        """The scaler leaves out a step with gradients that are not finite, and halves its scale."""
        before = self.grad_scaler.get_scale()
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        was_left_out = self.grad_scaler.get_scale() < before
        self._left_out = self._left_out + 1 if was_left_out else 0
        if self._left_out >= _MOST_LEFT_OUT:
            raise FloatingPointError(
                f"gradients: expected finite ones at some loss scale, got none in {self._left_out} "
                f"steps, the last {where}. The weights are left as they were. Train in bf16 or "
                "float32 (SOLVER.AMP), or lower SOLVER.BASE_LR."
            )

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
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            losses = self.model(batch)
            total = sum(losses.values()) / self.accumulate_steps
        self.grad_scaler.scale(total).backward()
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Iteration, optimizer and loss scale."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; a run may change its precision on resume."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler") and self.grad_scaler.is_enabled():
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
