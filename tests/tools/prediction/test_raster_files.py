"""GeoTIFFs through the command; without rasterio, what it says."""

import json

import numpy as np
import pytest
from PIL import Image

from stseg.data import rasters
from stseg.structures import Segmentation
from stseg.tools.prediction import tiling
from tests.helpers.colour_net import COLOURS
from tests.helpers.prediction_runs import outputs, run

CRS, ORIGIN, PIXEL = "EPSG:32633", (500_000.0, 5_300_000.0), 0.5
SMALL = ("--tile", "32", "--overlap", "8")


def colours(height, width):
    """Red, below the tenth row blue."""
    pixels = np.full((height, width, 3), COLOURS["blue"], dtype=np.uint8)
    pixels[:10] = COLOURS["red"]
    return pixels


def write(path, bands, **more):
    rasterio = pytest.importorskip("rasterio", reason="rasterio (stseg[geo]) is not installed")
    place = {
        "crs": CRS,
        "transform": rasterio.transform.from_origin(*ORIGIN, PIXEL, PIXEL),
        **more,
    }
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype,
        **{key: value for key, value in place.items() if value is not None},
    ) as file:  # fmt: skip
        file.write(bands)
    return rasterio


def test_labels_lie_where_the_picture_lies_in_compressed_blocks(workspace):
    bands = colours(70, 90).transpose(2, 0, 1)
    bands[:, :, :20] = 0
    rasterio = write(workspace / "photos" / "field.tif", bands, nodata=0)
    more = (*SMALL, "--save", "json,overlay,confidence", "--batch", "3")
    assert run(workspace, "field.tif", more=more) == 0
    assert outputs(workspace) == [
        f"field{end}" for end in (".json", ".tif", "_confidence.tif", "_overlay.jpg")
    ]
    with rasterio.open(workspace / "out" / "field.tif") as file:
        assert file.crs == CRS and file.bounds.left == ORIGIN[0] and file.res == (PIXEL, PIXEL)
        assert file.nodata == 255 and file.compression.name == "deflate"
        assert file.profile["tiled"] and file.colormap(1)[255] != file.colormap(1)[0]
        labels = file.read(1)
    assert (labels[:, :20] == 255).all()
    assert (labels[:10, 20:] == 0).all() and (labels[10:, 20:] == 1).all()
    table = json.loads((workspace / "out" / "field.json").read_text())
    assert table["crs"] == CRS and table["transform"] == [PIXEL, 0, ORIGIN[0], 0, -PIXEL, ORIGIN[1]]
    found = Segmentation.load(workspace / "out" / "field.json")
    assert np.array_equal(found.label_map == -1, labels == 255)
    assert found.confidence[0, 50] == 1 and found.confidence[0, 0] == 0


def test_a_picture_of_several_blocks_is_written_whole(workspace):
    bands = colours(1100, 600).transpose(2, 0, 1)
    rasterio = write(workspace / "photos" / "field.tif", bands)
    more = ("--tile", "400", "--overlap", "32", "--save", "labels")
    assert run(workspace, "field.tif", more=more) == 0
    with rasterio.open(workspace / "out" / "field.tif") as file:
        labels = file.read(1)
    assert (labels[:10] == 0).all() and (labels[10:] == 1).all()


def test_what_is_done_is_left_out_and_other_tiles_are_another_request(workspace, capsys):
    write(workspace / "photos" / "field.tif", colours(40, 40).transpose(2, 0, 1))
    more = (*SMALL, "--save", "labels,json,coco")
    assert run(workspace, "field.tif", more=more) == 0
    assert (workspace / "out" / "coco").exists()
    assert run(workspace, "field.tif", more=(*more, "--resume")) == 0
    assert "1 of 1 files are done already" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run(workspace, "field.tif", more=("--tile", "64", "--resume"))
    assert "other tiles" in capsys.readouterr().err


def test_bands_and_values_are_those_said(workspace, capsys):
    deep = np.zeros((5, 40, 40), dtype=np.uint16)
    deep[4], deep[1, :10], deep[4, :10] = 3000, 3000, 0
    write(workspace / "photos" / "deep.tif", deep)
    assert run(workspace, "deep.tif") == 1
    assert "--bands 4,3,2" in capsys.readouterr().err
    more = ("--bands", "5,1,2", "--values", "0:3000")
    assert run(workspace, "deep.tif", vocabulary="red; blue", more=more) == 0
    labels = Segmentation.load(workspace / "out" / "deep.json").label_map
    assert (labels[:10] == 1).all() and (labels[10:] == 0).all()


def test_other_pictures_come_in_tiles_too_and_as_before(workspace, capsys):
    assert run(workspace, "one.jpg", "two.png", more=("--save", "labels,json")) == 0
    whole = np.asarray(Image.open(workspace / "out" / "one.png"))
    more = ("--save", "labels,json", "--tile", "16", "--overlap", "4")
    assert run(workspace, "one.jpg", "two.png", more=more) == 0
    assert "one.jpg: 0 megapixels, seen in " in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(workspace / "out" / "one.png")), whole)
    assert outputs(workspace) == ["one.json", "one.png", "two.json", "two.png"]


def test_beyond_a_number_of_pixels_tiles_come_by_themselves(workspace, monkeypatch, capsys):
    monkeypatch.setattr(tiling, "AUTO_PIXELS", 1000)
    monkeypatch.setattr(tiling, "SIDE", 24)
    assert run(workspace, "one.jpg", "two.png") == 0
    text = capsys.readouterr().out
    assert "one.jpg: 0 megapixels" in text and "--tile 0 sees it whole" in text
    assert "two.png: 0 megapixels" not in text
    assert run(workspace, "one.jpg", more=("--tile", "0")) == 0
    assert "megapixels" not in capsys.readouterr().out


def test_without_rasterio_coordinates_are_not_lost_in_silence(workspace, monkeypatch, capsys):
    write(workspace / "photos" / "field.tif", colours(40, 40).transpose(2, 0, 1))
    for module in (rasters, tiling):
        monkeypatch.setattr(module, "is_installed", lambda name: False)
    assert run(workspace, "field.tif") == 1
    assert "pip install 'stseg[geo]'" in capsys.readouterr().err
    assert run(workspace, "field.tif", more=("--tile", "0")) == 0
    assert "field.png" in outputs(workspace)
    with pytest.raises(SystemExit, match="2"):
        run(workspace, "field.tif", more=("--bands", "1,2,3"))
    assert "stseg[geo]" in capsys.readouterr().err


def test_a_raster_that_is_cut_off_is_named_and_leaves_nothing(workspace, capsys):
    path = workspace / "photos" / "field.tif"
    rng = np.random.default_rng(0)
    write(path, rng.integers(0, 256, (3, 200, 200), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:60_000])
    assert run(workspace, "field.tif", more=SMALL) == 1
    assert "field.tif: expected a complete raster" in capsys.readouterr().err
    assert outputs(workspace) == [] and not list((workspace / "out").glob("*.tmp"))


def test_a_labelled_file_of_somebody_else_is_not_replaced(workspace, capsys):
    write(workspace / "photos" / "field.tif", colours(40, 40).transpose(2, 0, 1))
    (workspace / "out").mkdir()
    (workspace / "out" / "field.tif").write_bytes(b"mine")
    assert run(workspace, "field.tif", more=SMALL) == 1
    assert (workspace / "out" / "field.tif").read_bytes() == b"mine"
