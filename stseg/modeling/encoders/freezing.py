"""Encoders of which a few parameters train."""

from collections.abc import Sequence

from torch import nn


def train_only(module: nn.Module, names: Sequence[str], what: str) -> None:
    """Freeze a module but for some of its parameters.

    Args:
        module: changed in place.
        names: of the parameters that train, as the module calls them.
        what: the module is, for messages.

    Raises:
        ValueError: if a parameter does not exist.
    """
    parameters = dict(module.requires_grad_(False).named_parameters())
    if not set(names) <= set(parameters):
        raise ValueError(
            f"trained: expected parameters of {what}, got {tuple(names)}. The first it has are "
            f"{', '.join(list(parameters)[:3])}."
        )
    for name in names:
        parameters[name].requires_grad_(True)
