"""AdamW with SED's parameter groups, and the learning-rate schedules."""

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as build_d2_lr_scheduler
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import reduce_param_groups
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from tabulate import tabulate
from torch import nn


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.AdamW:
    """AdamW over everything that learns, with the groups and factors of `cfg.SOLVER`.

    Torch's normalisation layers get `WEIGHT_DECAY_NORM`, the model's own `undecayed` none, and
    everything else `WEIGHT_DECAY`. The model's `lr_multipliers` scale the rate by name, and after
    them `LR_MULTIPLIERS`. Tensors that share both sit in one group (SED has a group per tensor,
    which gives the same steps more slowly). Clipping is part of the optimizer: it happens in
    `step`, so after a gradient scaler has unscaled.

    Args:
        cfg: the whole config.
        model: the bare model, not wrapped for several processes.

    Raises:
        ValueError: if nothing learns, or a name of LR_MULTIPLIERS matches no parameter.
    """
    solver = cfg.SOLVER
    _check_multipliers(solver.LR_MULTIPLIERS, [name for name, _ in model.named_parameters()])
    multipliers = [*getattr(model, "lr_multipliers", ()), *solver.LR_MULTIPLIERS]
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        # Detectron2 names a parameter of the root module ".name".
        lr_factor_func=lambda name: _factor(multipliers, name.lstrip(".")),
    )
    groups = _without_decay(groups, model)
    if not groups:
        raise ValueError(
            "model: expected at least one parameter that learns, got none. "
            "Check the keys that freeze parts of the model."
        )
    optimizer = torch.optim.AdamW(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
    if solver.CLIP_GRADIENTS.ENABLED:
        _add_clipping(optimizer, solver.CLIP_GRADIENTS)
    return optimizer


def _without_decay(groups: list[dict], model: nn.Module) -> list[dict]:
    """Groups in which the model's `undecayed` parameters have no weight decay."""
    patterns = getattr(model, "undecayed", ())
    spared = {p for n, p in model.named_parameters() if any(_matches(x, n) for x in patterns)}
    if not spared:
        return groups
    return reduce_param_groups(
        [
            {**group, "params": [p], **({"weight_decay": 0.0} if p in spared else {})}
            for group in groups
            for p in group["params"]
        ]
    )


class RoundLRMultiplier(LRMultiplier):
    """A schedule that begins anew in every round of self-training."""

    def get_lr(self) -> list[float]:
        """Rates of the present iteration."""
        where = (self.last_epoch % self._max_iter) / self._max_iter
        return [base_lr * self._multiplier(where) for base_lr in self.base_lrs]


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """The schedule named by SOLVER.LR_SCHEDULER_NAME: Detectron2's, or WarmupPolyLR.

    With rounds of self-training every round has one of its own, with a warm-up of
    SELF_TRAINING.ROUND_WARMUP: one cosine over three rounds would give them 61, 33 and 6 % of all
    learning, and a round's first steps would be its largest.
    """
    st = cfg.SELF_TRAINING
    if not (st.ENABLED and st.ROUNDS > 0):
        return _lr_scheduler(cfg, optimizer)
    one = cfg.clone()
    one.defrost()
    one.SOLVER.MAX_ITER = st.ROUND_ITERS
    one.SOLVER.WARMUP_ITERS = math.ceil(st.ROUND_WARMUP * st.ROUND_ITERS)
    multiplier = _lr_scheduler(one, optimizer)._multiplier
    return RoundLRMultiplier(optimizer, multiplier=multiplier, max_iter=st.ROUND_ITERS)


def _lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_d2_lr_scheduler(cfg, optimizer)
    schedule = WarmupParamScheduler(
        PolynomialDecayParamScheduler(base_value=1.0, power=solver.POLY_LR_POWER),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)


def describe_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[str, str]:
    """What learns and how: in one line, and as a table of every parameter.

    Args:
        model: the bare model.
        optimizer: of `build_optimizer`.
    """
    group_of = {p: k for k, g in enumerate(optimizer.param_groups) for p in g["params"]}
    rows, learning, total = [], 0, 0
    for name, param in model.named_parameters():
        how: tuple = ("frozen", "", "")
        if param in group_of:
            group = optimizer.param_groups[group_of[param]]
            how = (group_of[param], group["lr"], group["weight_decay"])
            learning += param.numel()
        rows.append((name, "x".join(map(str, param.shape)), param.numel(), *how))
        total += param.numel()
    headers = ("name", "shape", "numbers", "group", "lr", "weight decay")
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    line = (
        f"{learning / 1e6:.2f} M of {total / 1e6:.2f} M parameters learn, "
        f"lr {' to '.join(f'{rate:g}' for rate in dict.fromkeys((rates[0], rates[-1])))}"
    )
    return line, f"{line}\n\n{tabulate(rows, headers=headers, disable_numparse=[1])}\n"


def _matches(pattern: str, name: str) -> bool:
    if "*" in pattern:
        return fnmatchcase(name, pattern)
    return name == pattern or name.startswith(pattern + ".")


def _factor(multipliers: Sequence, name: str) -> float:
    """That of the last pattern that fits, 1 without one."""
    return next((float(v) for pattern, v in multipliers[::-1] if _matches(pattern, name)), 1.0)


def _check_multipliers(multipliers: Iterable, names: list[str]) -> None:
    for entry in multipliers:
        is_pair = isinstance(entry, (list, tuple)) and len(entry) == 2
        if not is_pair or not isinstance(entry[0], str):
            raise ValueError(
                f"SOLVER.LR_MULTIPLIERS: expected a list of [name, factor], got {entry!r} in it."
            )
        if not any(_matches(entry[0], name) for name in names):
            parts = sorted({name.split(".")[0] for name in names})
            raise ValueError(
                f"SOLVER.LR_MULTIPLIERS: expected names of parameters, got {entry[0]!r}, which "
                f"matches none. The parts of this model are {', '.join(parts)}."
            )


def _add_clipping(optimizer: torch.optim.Optimizer, clip: CfgNode) -> None:
    kind, limit, norm_type = clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE

    def clip_gradients(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        if kind == "full_model":
            nn.utils.clip_grad_norm_(params, limit, norm_type)
        elif kind == "norm":
            for param in params:
                nn.utils.clip_grad_norm_(param, limit, norm_type)
        else:
            nn.utils.clip_grad_value_(params, limit)

    optimizer.register_step_pre_hook(clip_gradients)
