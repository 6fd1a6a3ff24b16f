"""What tests of CLIP-photo share."""

import pytest

from stseg.photo_clip.trunk import FILE


@pytest.fixture(scope="session")
def photos_extra():
    """Skips where the package of the trunk is not installed."""
    try:
        return FILE.path()
    except FileNotFoundError as error:
        pytest.skip(f"needs the extra stseg[photos]: {error}")
