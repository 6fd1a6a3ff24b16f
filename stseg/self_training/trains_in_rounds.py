"""What makes any trainer of Detectron2 one that trains in rounds."""

from collections.abc import Iterable

from stseg.self_training.hook import SamPseudoLabelHook
from stseg.utils import kept_random_state


class TrainsInRounds:
    """A `RoundTrainer`, when put before `DefaultTrainer` or `SimpleTrainer` among the bases.

    Register the hook behind that of the schedule and before checkpoints are loaded: they hold the
    state of the rounds. A `SimpleTrainer` needs a `checkpointer` that keeps the trainer's state.
    """

    _is_over = False

    def train_on(self, loader: Iterable) -> None:
        """Go on with another loader, from the next iteration on; no random number is drawn."""
        with kept_random_state():
            getattr(self, "_trainer", self).reset_data_loader(lambda: loader)
            self.start_data()

    def start_data(self) -> None:
        """Create the loader's iterator now: doing so draws a random number."""
        _ = getattr(self, "_trainer", self)._data_loader_iter

    def stop(self) -> None:
        """Leave out the iterations that remain; what comes after training is done as usual."""
        self._is_over = True

    def scale_rate(self, factor: float) -> None:
        """Learn at this part of the rates that the trainer was built with, from now on.

        The optimizer and the schedule keep it, and with them a checkpoint.
        """
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] *= factor / group.get("rate_factor", 1.0)
            group["rate_factor"] = factor
        if scheduler := getattr(self, "scheduler", None):
            scheduler.base_lrs = [group["initial_lr"] * factor for group in groups]

    def save_checkpoint(self, is_final: bool = False) -> None:
        """Save this iteration's checkpoint again, after something has changed; all ranks."""
        name = "model_final" if is_final else f"model_{self.iter:07d}"
        self.checkpointer.save(name, iteration=self.iter)

    def before_train(self) -> None:
        """Start hooks and data; on resuming, finish what was interrupted."""
        super().before_train()
        self.start_data()
        if self.start_iter > 0:
            self.finish_interrupted_step()
            if self.start_iter >= self.max_iter:  # or Detectron2 counts one iteration too many
                self.iter = self.max_iter - 1

    def finish_interrupted_step(self) -> None:
        """End the round that a kill cut off between its checkpoint and its end."""
        self.iter = self.storage.iter = self.start_iter - 1
        for hook in self._hooks:
            if isinstance(hook, SamPseudoLabelHook):
                hook.after_step()

    def before_step(self) -> None:
        """As in Detectron2, unless training is over."""
        if not self._is_over:
            super().before_step()

    def run_step(self) -> None:
        """As in Detectron2, unless training is over."""
        if not self._is_over:
            super().run_step()

    def after_step(self) -> None:
        """As in Detectron2, unless training is over."""
        if not self._is_over:
            super().after_step()
