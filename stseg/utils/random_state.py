"""The random number generators of a process, as one value that can be saved and put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_random_state() -> dict[str, Any]:
    """States of torch (CPU and current device), NumPy and Python; loads with weights_only."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["device"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `get_random_state` returned."""
    kind, keys, position, has_gauss, gauss = state["numpy"]
    torch.set_rng_state(state["torch"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate(state["python"])
    if "device" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["device"])


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Whatever draws inside leaves no trace outside.

    Evaluation runs inside it: a training run resumed after an evaluation must draw the numbers
    of one that went through it.
    """
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
