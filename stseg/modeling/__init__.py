"""Encoders, heads, losses and the meta-architectures made of them."""

from stseg.dependencies import require_detectron2

require_detectron2(__name__)
