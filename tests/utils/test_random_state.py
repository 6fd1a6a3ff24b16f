"""The state of a process's random numbers, as a checkpoint holds it."""

import io
import random

import numpy as np
import torch

from stseg.utils.random_state import get_random_state, kept_random_state, set_random_state


def draw():
    """Of every generator; NumPy makes normal numbers in pairs and keeps the second."""
    return random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand(), torch.rand(2)


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


def test_numbers_go_on_as_they_would_have_after_a_way_through_a_file():
    for drawn_before in range(2):  # with and without a second normal number in store
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        for _ in range(drawn_before):
            random.gauss(0, 1), np.random.normal()
        file = io.BytesIO()
        torch.save(get_random_state(), file)
        wanted = draw(), draw()
        random.seed(7), np.random.seed(8), torch.manual_seed(9)
        np.random.normal()
        file.seek(0)
        set_random_state(torch.load(file, weights_only=True))
        assert same(wanted[0], draw()) and same(wanted[1], draw())


def test_what_draws_inside_leaves_no_trace_even_after_a_failure():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    wanted = draw()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    try:
        with kept_random_state():
            draw()
            raise KeyError
    except KeyError:
        assert same(wanted, draw())
