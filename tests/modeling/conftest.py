"""Fixtures of the model tests."""

import numpy as np
import pytest

from tests.helpers.tiny_model import register


@pytest.fixture
def fixture(shared_dir):
    """Loads a file of SED's reference outputs as a dict of arrays."""

    def load(name):
        arrays = np.load(shared_dir / "fixtures" / "sed" / f"{name}.npz")
        return {key: arrays[key] for key in arrays.files}

    return load


@pytest.fixture(autouse=True, scope="session")
def tiny_models(tmp_path_factory):
    """The tiny encoders are known by name."""
    register(tmp_path_factory.mktemp("open_clip"))
