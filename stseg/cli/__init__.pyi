from .main import stseg_command

__all__ = ["stseg_command"]
