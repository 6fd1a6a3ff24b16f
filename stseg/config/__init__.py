"""Config keys, their rules, and how a config file becomes a checked config."""

from stseg.config.assemble import setup_cfg, usable_device
from stseg.config.keys import add_stseg_config
from stseg.config.table import check, check_values

__all__ = ["add_stseg_config", "check", "check_values", "setup_cfg", "usable_device"]
