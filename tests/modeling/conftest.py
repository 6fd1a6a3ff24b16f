"""Fixtures of the model tests."""

import numpy as np
import pytest
import torch

from tests.helpers.tiny_model import register


def read_arrays(path):
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture
def fixture(shared_dir):
    """Loads a file of SED's reference outputs as a dict of arrays."""

    def load(name):
        return read_arrays(shared_dir / "fixtures" / "sed" / f"{name}.npz")

    return load


@pytest.fixture
def ebseg_fixture(shared_dir):
    """The same for EBSeg's."""

    def load(name):
        return read_arrays(shared_dir / "fixtures" / "ebseg" / f"{name}.npz")

    return load


@pytest.fixture
def pgseg_fixture(shared_dir):
    """The same for PGSeg's, as tensors."""

    def load(name):
        arrays = read_arrays(shared_dir / "fixtures" / "pgseg" / f"{name}.npz")
        return {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}

    return load


@pytest.fixture(autouse=True, scope="session")
def tiny_models(tmp_path_factory):
    """The tiny encoders are known by name."""
    register(tmp_path_factory.mktemp("open_clip"))
