"""The network that has seen photographs: EfficientNet-Lite2 of ImageNet, and what its classes say.

The file is that of an installed package, whose tensors have other names than timm's and the same
order.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.checkpoint import read_state_dict
from stseg.modeling.encoders import PHOTO_TRUNK
from stseg.weights import PHOTO_NETWORK

_CLASSIFIER = "classifier"


def read_trunk() -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the package's file.

    Returns:
        Tensors by timm's names, and timm's name for each name of the file.

    Raises:
        FileNotFoundError: if the package is not installed.
        ValueError: if its file is another one.
    """
    given = read_state_dict(str(PHOTO_NETWORK.path()))
    ours = list(timm.create_model(PHOTO_TRUNK, pretrained=False).state_dict())
    names = dict(zip(given, ours, strict=True))
    return {names[name]: value for name, value in given.items()}, names


def class_vectors(trunk: dict[str, Tensor], channels: int) -> Tensor:
    """Where the classes are: what tells their rows of the classifier apart.

    A softmax does not see what all classes have in common, so their mean is taken off; of the rest
    the directions of most difference are kept. The biases are left out.

    Args:
        trunk: tensors by timm's names.
        channels: C, at most 999.

    Returns:
        (1000, C) of length 1.
    """
    weight = trunk[f"{_CLASSIFIER}.weight"].double()
    u, s, v = torch.linalg.svd(weight - weight.mean(0), full_matrices=False)
    # Which of two opposite directions is taken must not hang on the machine.
    signs = v.gather(1, v.abs().argmax(1, keepdim=True)).sign().T
    return F.normalize((u * s * signs)[:, :channels]).float()


def package_entry(names: dict[str, str], prefix: str) -> dict[str, Any]:
    """What a checkpoint in short form says of the trunk, see `stseg.checkpoint`.

    Args:
        names: timm's name for each name of the file.
        prefix: of the trunk's names in the checkpoint.
    """
    found = {}
    for theirs, name in names.items():
        is_classifier = name.startswith(f"{_CLASSIFIER}.")
        found[theirs] = prefix + (name.replace(".", ".classes.") if is_classifier else name)
    return {**asdict(PHOTO_NETWORK), "names": found}
