"""The config keys, one file per part."""

from stseg.dependencies import require_detectron2

require_detectron2(__name__)

from detectron2.config import CfgNode

from stseg.config.data import add_data_config
from stseg.config.solver import add_solver_config


def add_stseg_config(cfg: CfgNode) -> None:
    """Add every key of this project to a Detectron2 config, in place."""
    add_data_config(cfg)
    add_solver_config(cfg)
