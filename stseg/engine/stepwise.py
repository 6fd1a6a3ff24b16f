"""Small trainings by steps, such as those of the miniature towers: the step and the loop."""

import argparse
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stseg.engine.train_step import check_gradients
from stseg.utils import write_atomically

logger = logging.getLogger(__name__)

_LOG_PERIOD = 50


class StepwiseTrainer:
    """A model, the average of its weights and its optimizer; one call of `run_step` is one update.

    Attributes:
        step: updates done.
        average: of the model's weights, in evaluation mode.
    """

    def __init__(
        self, part: str, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Any
    ) -> None:
        """Start at step 0.

        Args:
            part: name of the model in a checkpoint.
            model: in training mode.
            optimizer: of its parameters.
            recipe: dataclass instance of all that the run depends on.
        """
        self.part, self.model, self.optimizer, self.recipe = part, model, optimizer, recipe
        self.average = deepcopy(model).eval().requires_grad_(False)
        self.step = 0

    def run_step(self) -> dict[str, float]:
        """One update; returns the figures to log."""
        raise NotImplementedError

    def judge(self, count: int) -> dict[str, float]:
        """Figures of the average on so many examples that it does not learn from."""
        raise NotImplementedError

    def export(self, out: Path) -> None:
        """Write the average as what is to ship, "<part>_mini.pt", into a folder."""
        write_halved(self.average, out / f"{self.part}_mini.pt")

    def update(
        self, losses: dict[str, Tensor], lr: float, average_from: int, highest_keep: float
    ) -> dict[str, float]:
        """Descend on the sum of the losses, and let the average follow.

        Args:
            losses: scalars.
            lr: learning rate of this step.
            average_from: step up to which the average equals the model.
            highest_keep: share of the average that stays at each later step, once it has settled.

        Returns:
            "loss", the sum, and the losses.

        Raises:
            FloatingPointError: if the sum, or a gradient, is not finite.
        """
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"loss: expected a finite value at step {self.step}.")
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        total.backward()
        check_gradients(self.model.named_parameters(), f"at step {self.step}")
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        done = max(0, self.step - average_from)
        keep = min(highest_keep, done / (done + 10))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
            for mean, new in pairs:
                mean.lerp_(new, 1 - keep)
        return {name: value.item() for name, value in {"loss": total, **losses}.items()}

    def state_dict(self) -> dict:
        """All that a resumed run needs."""
        return {
            "step": self.step,
            "recipe": asdict(self.recipe),
            self.part: self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from ``state_dict``."""
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(
                f"--out: expected a checkpoint of this run, got one made with {state['recipe']}. "
                "Choose an empty folder or the same flags."
            )
        self.step = state["step"]
        self.model.load_state_dict(state[self.part])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def run_command(
    args: argparse.Namespace,
    trainer: Callable[[Any, str], StepwiseTrainer],
    judge: Callable[[argparse.Namespace], dict[str, float]],
) -> None:
    """What the flags of `parse_stepwise` ask for: train, or log the figures of some weights."""
    if args.command == "train":
        run_training(trainer(args.recipe, args.device), args.out, args.eval_period, args.count)
    else:
        logger.info(json.dumps(judge(args)))


def build_adamw(
    model: nn.Module, lr: float, decay: float, free: Sequence[str]
) -> torch.optim.AdamW:
    """AdamW; no decay for vectors and for parameters with one of the words in their names."""
    plain, decayed = [], []
    for name, parameter in model.named_parameters():
        is_free = parameter.ndim < 2 or any(word in name for word in free)
        (plain if is_free else decayed).append(parameter)
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": decay}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)


def lr_factor(step: int, steps: int, warmup: int = 150) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def write_halved(model: nn.Module, path: Path) -> None:
    """The float16 state dict that the model's own loader takes as a local file."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state = {k: v.contiguous() for k, v in state.items()}
    write_atomically(path, lambda file: torch.save(state, file))


def run_training(trainer: StepwiseTrainer, out: Path, eval_period: int, count: int) -> None:
    """Train to the recipe's steps, from the folder's last checkpoint if there is one.

    Args:
        trainer: at its start.
        out: folder of last.pt, log.jsonl (a line of figures every 50 steps) and the weights.
        eval_period: steps after which the weights are exported and judged; the last step always.
        count: examples to judge on.
    """
    out.mkdir(parents=True, exist_ok=True)
    last, steps = out / "last.pt", trainer.recipe.steps
    if last.is_file():
        device = next(trainer.model.parameters()).device
        trainer.load_state_dict(torch.load(last, map_location=device, weights_only=True))
    logger.info("step %d of %d", trainer.step, steps)
    started, first = time.time(), trainer.step
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.step < steps:
            line: dict[str, Any] = trainer.run_step()
            done = trainer.step == steps
            if trainer.step % _LOG_PERIOD and not done:
                continue
            line["step"] = trainer.step
            line["seconds_per_step"] = (time.time() - started) / (trainer.step - first)
            if trainer.step % eval_period == 0 or done:
                trainer.export(out)
                line |= trainer.judge(count)
            write_atomically(last, lambda file: torch.save(trainer.state_dict(), file))
            text = json.dumps({name: round(value, 4) for name, value in line.items()})
            log.write(text + "\n")
            log.flush()
            logger.info(text)
