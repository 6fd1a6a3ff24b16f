"""All config keys at once, and the one table of what they may be, gathered from beside the keys.

Config files are checked with it, and constructors check their arguments with the same rows, so that
a value means the same in YAML and in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stseg.config import cel_keys, data, ebseg_keys, model, pgseg_keys, self_training, solver
from stseg.config.rules import Rule

if TYPE_CHECKING:
    from detectron2.config import CfgNode

#: Rule of every key that has a range.
RULES: dict[str, Rule] = {
    **data.RULES,
    **model.RULES,
    **ebseg_keys.RULES,
    **cel_keys.RULES,
    **pgseg_keys.RULES,
    **self_training.RULES,
    **solver.RULES,
}


def add_stseg_config(cfg: CfgNode) -> None:
    """Add stseg's keys, with defaults that run, to `detectron2.config.get_cfg()`'s config."""
    data.add_data_config(cfg)
    model.add_model_config(cfg)
    ebseg_keys.add_ebseg_config(cfg)
    cel_keys.add_cel_config(cfg)
    pgseg_keys.add_pgseg_config(cfg)
    self_training.add_self_training_config(cfg)
    solver.add_solver_config(cfg)


def check(key: str, value: Any) -> Any:
    """Hand on a value that a key may have.

    Raises:
        ValueError: names the key, its rule and the value.
    """
    if not _is_good(key, value):
        raise ValueError(_problem(key, value))
    return value


def _is_good(key: str, value: Any) -> bool:
    try:
        return bool(RULES[key].is_good(value))
    except (TypeError, ValueError, OverflowError):  # a text among numbers, say
        return False


def check_values(cfg: CfgNode) -> None:
    """Refuse values out of range, of which the message lists all, or that do not go together.

    Raises:
        ValueError: names each key, its rule and its value.
    """
    values = dict(leaves(cfg))
    bad = [_problem(key, values[key]) for key in RULES if not _is_good(key, values[key])]
    if bad:
        raise ValueError("\n".join(bad))
    solver.check_end(cfg)
    self_training.check_ignored(cfg)
    self_training.check_refined_image(cfg)
    self_training.check_vision_language(cfg)
    self_training.check_warm_up(cfg)


def _problem(key: str, value: Any) -> str:
    rule = RULES[key]
    return f"{key}: expected {rule.text}, got {value!r}. {rule.cure}".rstrip()


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config with its value, by its full name."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value
