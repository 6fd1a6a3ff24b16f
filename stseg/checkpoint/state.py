"""What a model's state is made of, asked of the model: no list of names says what is frozen."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stseg.checkpoint.facts import WeightFacts


def changeable_names(model: nn.Module) -> set[str]:
    """Entries of the state dict that training may change.

    Trainable parameters, and buffers of modules that are not frozen. A module is frozen if it has
    parameters, below it too, and none of them trains; one without any goes with what holds it.
    """
    found = {name for name, p in model.named_parameters() if p.requires_grad}
    _add_buffers(model, "", False, found)
    return found & set(model.state_dict())


def _add_buffers(module: nn.Module, prefix: str, is_frozen: bool, found: set[str]) -> None:
    parameters = [p.requires_grad for p in module.parameters()]
    if parameters:
        is_frozen = not any(parameters)
    if is_frozen:
        return
    found.update(f"{prefix}{name}" for name, _ in module.named_buffers(recurse=False))
    for name, child in module.named_children():
        _add_buffers(child, f"{prefix}{name}.", is_frozen, found)


def changeable_state(model: nn.Module) -> dict[str, Tensor]:
    """What training may change of the bare model, on the CPU, copied: enough to go back to it."""
    names = changeable_names(model)
    state = model.state_dict()
    return {name: state[name].detach().cpu().clone() for name in state if name in names}


def weights_digest(state_dict: Mapping[str, Any]) -> str:
    """SHA-256 of tensors: names in order, types, shapes and bytes.

    Args:
        state_dict: tensors of any type on any device; copied to the CPU one by one.

    Raises:
        TypeError: if a value is no tensor.
    """
    return _joined({name: _digest(name, value) for name, value in state_dict.items()})


class AnswersDigest:
    """`weights_digest` of all of a model, and its facts; frozen tensors are read once."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._known: dict[str, tuple[tuple[int, int], str]] = {}

    def of(self, model: nn.Module) -> str:
        """64 hexadecimal digits."""
        changing, parts = changeable_names(model), {}
        facts = getattr(model, "facts", WeightFacts())
        if not getattr(model, "asks_seen", False):  # no answer depends on what was learnt
            facts = replace(facts, trained_on=())
        if facts != WeightFacts():
            parts["facts"] = json.dumps(facts.beside())
        for name, value in model.state_dict(keep_vars=True).items():
            if name in changing:
                parts[name] = _digest(name, value)
                continue
            stamp = (value.data_ptr(), value._version)  # loading writes anew
            if self._known.get(name, ((), ""))[0] != stamp:
                self._known[name] = (stamp, _digest(name, value))
            parts[name] = self._known[name][1]
        return _joined(parts)


def _joined(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


def _digest(name: str, value: Any) -> str:
    if not isinstance(value, Tensor):
        raise TypeError(f"Weights digest: expected a tensor as {name!r}, got {type(value)}.")
    digest = hashlib.sha256(json.dumps([str(value.dtype), list(value.shape)]).encode())
    # As bytes, because NumPy has no bfloat16.
    flat = value.detach().to("cpu").contiguous().reshape(-1)
    digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()
