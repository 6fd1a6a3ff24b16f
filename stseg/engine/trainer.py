"""Training and evaluation: Detectron2's DefaultTrainer for any device and number of processes."""

import logging
import os
import time
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import HookBase, TrainerBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from stseg.checkpoint import Checkpointer, WeightFacts, check_weights, checked_average
from stseg.data import build_test_loader, build_train_loader, dataset_vocabulary, has_captions
from stseg.engine.ema import WeightAverage
from stseg.engine.hooks import (
    BrokenPairs,
    Checkpoints,
    KeepBest,
    ProgressPrinter,
    SharedStatistics,
    Writers,
    trim_metrics,
)
from stseg.engine.optimizer import (
    build_lr_scheduler,
    build_optimizer,
    describe_parameters,
)
from stseg.engine.pictures import Pictures, pick_samples
from stseg.engine.result_log import report, summary
from stseg.engine.run_folder import RunIdentity
from stseg.engine.screen import tell_written
from stseg.engine.train_step import StepTrainer, amp_dtype
from stseg.evaluation import ResumedModel, STSegSemSegEvaluator, build_evaluator
from stseg.modeling import build_model
from stseg.modeling.scores import LabelMapModel
from stseg.self_training import TrainsInRounds, build_self_training
from stseg.utils import (
    kept_random_state,
    phase,
    set_random_state,
    without_traceback,
    write_atomically,
)

logger = logging.getLogger(__name__)


class Trainer(TrainsInRounds, DefaultTrainer):
    """DefaultTrainer with SED's optimizer, exact resuming, and one code path for CPU and GPU.

    `build_*` can be overridden as in Detectron2. An iteration is one optimizer step.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build everything; call `resume_or_load` and `train` next.

        Detectron2's own constructor is not called: it hands a GPU number to
        DistributedDataParallel and picks a trainer for mixed precision that refuses the CPU.

        Raises:
            ValueError: if the batch cannot be shared out, or a key is out of range.
        """
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        _check_batch(cfg, comm.get_world_size())
        # Detectron2's order: model, optimizer, data, then the wrapper for several processes.
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        _keep_parameters(model, optimizer, cfg.OUTPUT_DIR)
        self._has_rounds = cfg.SELF_TRAINING.ENABLED and cfg.SELF_TRAINING.ROUNDS > 0
        # Rounds bring their own images and labels, see `train_on`.
        data_loader = () if self._has_rounds else self.build_train_loader(cfg)
        wrapped = _wrap(model)
        self._trainer = StepTrainer(
            wrapped,
            data_loader,
            optimizer,
            accumulate_steps=cfg.SOLVER.ACCUMULATE_STEPS,
            dtype=amp_dtype(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE, _device(model)),
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(
            wrapped, cfg.OUTPUT_DIR, run=RunIdentity(cfg), trainer=weakref.proxy(self)
        )
        # After wrapping: until then the processes hold different random weights.
        self.average = (
            WeightAverage(model, cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
        )
        if self.average is not None:
            self.checkpointer.add_checkpointable("ema", self.average)
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        if self._has_rounds and cfg.SELF_TRAINING.GUARD.ENABLED:
            self.max_iter *= 2  # room to try every round once more; they end when they are over
        self._random_states: list[dict] = []
        self._last_eval_results: dict[str, Any] = {}
        self._last_written = -1
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint of OUTPUT_DIR, or load MODEL.WEIGHTS and start anew.

        Args:
            resume: False ignores an earlier run in OUTPUT_DIR; True where there is none starts
                anew, with a warning.

        Raises:
            ValueError: if the checkpoint does not fit, is another run's, or a run that adapts has
                no weights to start from.
        """
        resumed = resume and self.checkpointer.has_checkpoint()
        if not resumed:
            self._begin(resume)
        extra = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resumed)
        if self._has_rounds and not resumed and extra.get("ema"):
            # Adaptation starts from the weights that evaluation and preview take.
            model = _bare(self.model)
            model.load_state_dict(checked_average(model, extra["ema"]), strict=False)
        if self.average is not None and not resumed:
            self.average.reset()
        self._state_facts()
        if not resumed:
            return
        self.start_iter = self.iter + 1
        if self.start_iter > self.max_iter:
            raise ValueError(
                f"SOLVER.MAX_ITER: expected at least the {self.start_iter} iterations that the "
                f"checkpoint in {self.cfg.OUTPUT_DIR} has behind it, got {self.max_iter}. Raise it "
                "(with rounds SELF_TRAINING.ROUNDS or ROUND_ITERS), or name another OUTPUT_DIR."
            )
        self._random_states = extra.get("random_states", [])
        if not self._has_rounds:
            cfg, start = self.cfg, self.start_iter
            self._trainer.reset_data_loader(lambda: self.build_train_loader(cfg, start))

    def _state_facts(self) -> None:
        """Weights that learn from labels know their names, and their temperature no more."""
        model = _bare(self.model)
        if hasattr(model, "facts") and not self._has_rounds:
            name = self.cfg.DATASETS.TRAIN[0]
            names = () if has_captions(name) else dataset_vocabulary(name).synonyms
            model.facts = WeightFacts(trained_on=names)

    def _begin(self, resume: bool) -> None:
        """Before a run starts anew: it must know something to adapt, and leave no other's trace."""
        folder = self.cfg.OUTPUT_DIR
        if self._has_rounds:
            check_weights(self.cfg.MODEL.WEIGHTS)
        else:
            self.checkpointer.partial = self.cfg.MODEL.PARTIAL_WEIGHTS_ENABLED
        if resume:
            logger.warning("--resume: %s holds no checkpoint, the run starts anew.", folder)
        elif self.checkpointer.has_checkpoint() and comm.is_main_process():
            # Or a later --resume could go on with the run that was here before.
            last = os.path.join(folder, "last_checkpoint")
            os.replace(last, f"{last}.previous")
            logger.warning("%s held another run; --resume will not find it any more.", folder)

    def build_hooks(self) -> list[HookBase]:
        """The hooks in the order that `stseg.engine.hooks` explains."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD
        found: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler()]
        found.append(SharedStatistics(_bare(self.model)))
        if hasattr(self._trainer.data_loader, "broken"):
            found.append(BrokenPairs())
        if average := self.average:
            found.append(hooks.CallbackHook(after_step=lambda trainer: average.update()))
        boundary = cfg.SELF_TRAINING.ROUND_ITERS if self._has_rounds else 0
        self._checkpoints = Checkpoints(
            self.checkpointer,
            cfg.SOLVER.CHECKPOINT_PERIOD,
            boundary,
            cfg.SOLVER.CHECKPOINTS_KEPT,
        )
        found.append(self._checkpoints)
        if self._has_rounds:
            self._rounds = build_self_training(cfg, _bare(self.model), self.average)
            found.append(self._rounds)
        found.append(hooks.EvalHook(period, self._evaluate))
        if not comm.is_main_process():
            return found
        # Target labels are for reporting only: they must not choose weights.
        if cfg.DATASETS.TEST and not self._has_rounds:
            found.append(KeepBest(period, self.checkpointer, self._best_metric(), self._weights))
        if cfg.DATASETS.TEST and cfg.TEST.PICTURES > 0:
            found.append(self._build_pictures())
        found.append(Writers(self.build_writers, cfg.SOLVER.LOG_PERIOD))
        return found

    def save_checkpoint(self, is_final: bool = False) -> None:
        """Save this iteration's checkpoint again, after something has changed; all ranks."""
        self._checkpoints.save_now(self.iter, is_final)

    def build_writers(self) -> list[EventWriter]:
        """Writers to the log, metrics.json and TensorBoard; called when training starts.

        Lines and events from `start_iter` on, left by an interrupted run, are dropped first.
        metrics.json holds the values of its iteration, not medians over a window, which a
        resumed run could not continue.
        """
        path = os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")
        self._last_written = trim_metrics(path, self.start_iter)
        return [
            ProgressPrinter(self._expected_end),
            JSONWriter(path, window_size=1),
            TensorboardXWriter(self.cfg.OUTPUT_DIR, purge_step=self.start_iter),
        ]

    def _expected_end(self) -> int:
        """Iterations of the whole run, as far as is known now."""
        return self._rounds.expected_iters if self._has_rounds else self.max_iter

    def train(self) -> dict[str, Any]:
        """Train from `start_iter` to the end.

        Returns:
            Results of the last evaluation, {} on other ranks than 0.
        """
        since = time.time()
        with without_traceback():
            super().train()
        tell_written(self.cfg.OUTPUT_DIR, since)
        return self._last_eval_results

    def _restore_random_state(self) -> None:
        if len(self._random_states) == comm.get_world_size():
            set_random_state(self._random_states[comm.get_rank()])
        else:
            logger.warning(
                "The checkpoint was made by %d processes, now there are %d: random numbers "
                "inside the model will differ from those of an uninterrupted run.",
                len(self._random_states),
                comm.get_world_size(),
            )

    def finish_interrupted_step(self) -> None:
        """Do what came after the checkpoint in its iteration, if a kill prevented it.

        That is evaluation, and the line in metrics.json.
        """
        # First, because a boundary of rounds saves its checkpoint again.
        self._restore_random_state()
        last, done = self.start_iter - 1, self.start_iter
        for hook in self._hooks:
            if isinstance(hook, Writers):
                hook.put_restored(self._last_written)
        periods = [self.cfg.SOLVER.LOG_PERIOD, self.cfg.TEST.EVAL_PERIOD]
        if self._has_rounds:
            periods.append(self.cfg.SELF_TRAINING.ROUND_ITERS)
        is_due = any(period > 0 and done % period == 0 for period in periods)
        # Only rank 0 knows what was written.
        if not is_due or comm.all_gather(self._last_written)[0] >= last:
            return
        logger.info("Finishing iteration %d, which was interrupted after its checkpoint.", last)
        self.iter = self.storage.iter = last
        kinds = [type(hook) for hook in self._hooks]
        for hook in self._hooks[kinds.index(Checkpoints) + 1 :]:
            hook.after_step()

    def _build_pictures(self) -> HookBase:
        name, cfg = self.cfg.DATASETS.TEST[0], self.cfg
        samples = pick_samples(self.build_test_loader(cfg, name), name, cfg.TEST.PICTURES)
        return Pictures(cfg.TEST.EVAL_PERIOD, _bare(self.model), samples, self._evaluated)

    def _best_metric(self) -> str:
        # The names EvalHook gives: with several sets, the set comes first.
        names = self.cfg.DATASETS.TEST
        prefix = f"{names[0]}/" if len(names) > 1 else ""
        return prefix + self.cfg.TEST.BEST_METRIC

    def _evaluated(self) -> AbstractContextManager[None]:
        """The model holds the weights that count: the average if there is one."""
        return self.average.applied() if self.average is not None else nullcontext()

    def _weights(self) -> dict[str, torch.Tensor]:
        with self._evaluated():
            state = _bare(self.model).state_dict()
            return {name: value.detach().cpu().clone() for name, value in state.items()}

    def _evaluate(self) -> dict[str, Any]:
        # Nothing drawn here may move the training's random numbers.
        with self._evaluated(), kept_random_state():
            self._last_eval_results = self.test(self.cfg, self.model)
        return summary(self._last_eval_results)

    @classmethod
    @phase("build the model")
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """As in Detectron2; the systems of this project are known."""
        model = build_model(cfg)
        logger.debug("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See `stseg.engine.optimizer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """See `stseg.engine.optimizer.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    @phase("list images")
    def build_train_loader(cls, cfg: CfgNode, start_iter: int = 0) -> Any:
        """See `stseg.data.loaders.build_train_loader`."""
        loader = build_train_loader(cfg, start_iter)
        logger.info("%d images to train on: %s", len(loader.dataset), ", ".join(cfg.DATASETS.TRAIN))
        return loader

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """See `stseg.data.loaders.build_test_loader`."""
        loader = build_test_loader(cfg, dataset_name)
        logger.info("%d images to test on: %s", len(loader.dataset), dataset_name)
        return loader

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The evaluator the data set asks for; its files go to OUTPUT_DIR/inference/<set>."""
        folder = os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name)
        return build_evaluator(cfg, dataset_name, folder)

    @classmethod
    @phase("evaluation")
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Evaluate on every set of DATASETS.TEST; see Detectron2.

        Logs a table per set and writes OUTPUT_DIR/results.json: data set, task, metric. Where every
        evaluator takes label maps, the model is asked for these; else for all probabilities.

        Returns:
            On rank 0 {task: {metric: value}} for one set, else the same by set name.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        elif evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in names]
        bare = _bare(model)
        takers = [getattr(evaluator, "takes_label_maps", False) for evaluator in evaluators]
        if all(takers) and hasattr(bare, "label_maps"):
            model = LabelMapModel(bare)
        if any(getattr(evaluator, "resume", False) for evaluator in evaluators):
            ours = [e for e in evaluators if isinstance(e, STSegSemSegEvaluator)]
            model = ResumedModel(model, ours)
        results = super().test(cfg, model, evaluators)
        if comm.is_main_process() and names:
            report({names[0]: results} if len(names) == 1 else results, cfg.OUTPUT_DIR)
        return results


def _check_batch(cfg: CfgNode, world_size: int) -> None:
    size, steps = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE_STEPS
    if size % (world_size * steps):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH: expected a multiple of {world_size * steps} "
            f"({world_size} processes x SOLVER.ACCUMULATE_STEPS {steps}), got {size}. "
            "It is the number of images per optimizer step in all."
        )


def _keep_parameters(model: nn.Module, optimizer: torch.optim.Optimizer, folder: str) -> None:
    if comm.is_main_process():
        line, table = describe_parameters(model, optimizer)
        path = os.path.join(folder, "parameters.txt")
        os.makedirs(folder, exist_ok=True)
        write_atomically(path, table.encode("utf-8"))
        logger.info("%s; all of them: %s", line, path)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _wrap(model: nn.Module) -> nn.Module:
    if comm.get_world_size() == 1:
        return model
    index = _device(model).index
    device_ids = None if index is None else [index]
    return DistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model
