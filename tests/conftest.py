"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of fixtures and real data beside the checkout, or $STSEG_SHARED."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("STSEG_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"needs the shared fixtures: no folder {path}; set STSEG_SHARED")
    return path
