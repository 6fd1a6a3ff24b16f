"""Regions drawn by hand on photographs, and the share of them that gets its word."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import photo_regions
from tests.helpers.colour_net import COLOURS, ColourTestNet


@pytest.fixture
def photos(tmp_path):
    """A picture, left red and right blue, with a region of each and one over both."""
    pixels = np.full((20, 40, 3), COLOURS["red"], np.uint8)
    pixels[:, 20:] = COLOURS["blue"]
    Image.fromarray(pixels).save(tmp_path / "one.png")
    boxes = {"red": [[0, 0, 20, 10], [0, 0, 40, 20]], "blue": [[22, 5, 40, 20]]}
    regions = [{"file": "one.png", "name": k, "box": b} for k, v in boxes.items() for b in v]
    (tmp_path / "regions.json").write_text(json.dumps(regions))
    (tmp_path / "tiny.yaml").write_text(
        "MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}\n"
        "INPUT: {MIN_SIZE_TEST: 0}\n"
    )
    return tmp_path


def test_a_region_is_right_on_more_than_half_of_its_pixels(photos, capsys):
    assert ColourTestNet  # importing it registers it
    flags = ["--config-file", str(photos / "tiny.yaml"), "--photos", str(photos)]
    assert photo_regions.main([*flags, "--json", str(photos / "out.json")]) == 0
    assert "right: 2 of 3; mean share 83.3%" in capsys.readouterr().out
    found = json.loads((photos / "out.json").read_text())
    assert [row["share"] for row in found["regions"]] == pytest.approx([1.0, 0.5, 1.0])


def test_the_regions_that_ship_lie_inside_their_photographs_and_every_photograph_has_a_licence():
    folder = photo_regions.PHOTOS
    regions = photo_regions.read_regions(folder)
    assert sum(map(len, regions.values())) == 20
    licences = {entry["file"] for entry in json.loads((folder / "LICENCES.json").read_text())}
    assert licences == {path.name for path in folder.glob("*.jpg")} >= set(regions)
    for file, found in regions.items():
        width, height = Image.open(folder / file).size
        for region in found:
            left, top, right, bottom = region["box"]
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
