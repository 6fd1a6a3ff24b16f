"""Readers of published checkpoints, and what ships with the project."""

from stseg.utils.dependencies import require_detectron2

require_detectron2(__name__)

from stseg.checkpoint.published import load_published
from stseg.checkpoint.signatures import identify

__all__ = ["identify", "load_published"]
