"""Linear layers with activations between them."""

from itertools import pairwise

from torch import nn


def build_mlp(*dims: int) -> nn.Sequential:
    """Linear layers from each width to the next, a ReLU between each two."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(dims):
        layers += [nn.Linear(c_in, c_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
