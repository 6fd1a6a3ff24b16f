import numpy as np
import pytest
from PIL import Image

from tests.helpers.colour_net import COLOURS, ColourTestNet
from tests.helpers.prediction_runs import CONFIG


@pytest.fixture
def workspace(tmp_path):
    """A config, and two good pictures of different size in `photos`."""
    assert ColourTestNet  # importing it registers it
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "photos").mkdir()
    for name, size in (("one.jpg", (30, 40)), ("two.png", (20, 20))):
        pixels = np.full((*size, 3), COLOURS["red"], dtype=np.uint8)
        pixels[:10] = COLOURS["blue"]
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path
