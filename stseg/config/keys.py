"""All config keys at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stseg.config.data import add_data_config
from stseg.config.model import add_model_config
from stseg.config.self_training import add_self_training_config
from stseg.config.solver import add_solver_config

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def add_stseg_config(cfg: CfgNode) -> None:
    """Add stseg's keys, with defaults that run, to `detectron2.config.get_cfg()`'s config."""
    add_data_config(cfg)
    add_model_config(cfg)
    add_self_training_config(cfg)
    add_solver_config(cfg)
