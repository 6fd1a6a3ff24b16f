"""Readers of published checkpoints."""

from stseg.dependencies import require_detectron2

require_detectron2(__name__)
