"""From a pair to a model input."""

import numpy as np
import pytest
import torch
from PIL import Image

from stseg.data.caption_mapper import STSegCaptionMapper
from stseg.data.image_io import read_image
from stseg.data.loaders import build_mapper
from stseg.data.mappers import MAPPER_REGISTRY
from stseg.data.opening import BrokenFileError, PackedImage, TooLargeError
from stseg.data.readers import register_data
from stseg.data.sampling import seeded
from tests.helpers.caption_data import picture, write_shards

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


@pytest.fixture
def mapper(tmp_path, data_cfg):
    """Of the config, for training."""
    write_shards(tmp_path / "set")
    register_data({"name": "mine", "format": "pairs", "path": str(tmp_path / "set")})
    data_cfg.INPUT.CROP.TYPE = "resized"
    data_cfg.INPUT.CROP.SIZE = [24, 32]
    return build_mapper(data_cfg, True, ["mine"])


def test_a_pair_from_a_tar_and_one_from_a_folder_give_the_same_input(tmp_path, mapper):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    record = {"file_name": str(path), "caption": "noise"}
    packed = record | {"image_bytes": path.read_bytes()}
    path.with_name("other.png").write_bytes(picture(1))
    with seeded(3):
        one = mapper(record)
    path.unlink()
    with seeded(3):
        two = mapper(packed)
    assert torch.equal(one.pop("image"), two["image"]) and two.pop("image").shape == (3, 24, 32)
    assert one == two == {"file_name": str(path), "caption": "noise", "height": 40, "width": 60}


def test_the_config_chooses_the_mapper_of_captions_by_its_own_key(mapper, data_cfg):
    assert isinstance(mapper, STSegCaptionMapper)
    assert "STSegCaptionMapper" in MAPPER_REGISTRY
    data_cfg.INPUT.CAPTION_MAPPER_NAME = "STSegCaptionMaper"
    with pytest.raises(ValueError, match="INPUT.CAPTION_MAPPER_NAME: expected one of .*Did you"):
        build_mapper(data_cfg, True, ["mine"])


def test_outside_of_training_the_whole_image_is_given(tmp_path, mapper, data_cfg):
    record = {"file_name": "in/a.tar/1.png", "image_bytes": picture(7), "caption": "seven"}
    item = build_mapper(data_cfg, False, ["mine"])(record)
    assert item["image"].shape == (3, 24, 24) and item["image"][0].unique().tolist() == [7]
    assert "image_bytes" in record


def test_the_absolute_crop_serves_captions_too_but_knows_no_classes(mapper, data_cfg):
    data_cfg.INPUT.CROP.TYPE = "absolute"
    record = {"file_name": "a.png", "image_bytes": picture(7), "caption": "seven"}
    assert build_mapper(data_cfg, True, ["mine"])(record)["image"].shape == (3, 24, 32)
    data_cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    with pytest.raises(ValueError, match="SINGLE_CATEGORY_MAX_AREA: expected 1.0 for captions"):
        build_mapper(data_cfg, True, ["mine"])


def test_images_in_other_files_are_read_as_those_on_disk(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(tmp_path / "deep.png")
    Image.fromarray(pixels[..., 0].astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(tmp_path / "alpha.webp")
    for path in tmp_path.iterdir():
        packed = PackedImage(f"in.tar/{path.name}", path.read_bytes())
        assert np.array_equal(read_image(path), read_image(packed))
    assert read_image(PackedImage("x", (tmp_path / "turned.jpg").read_bytes())).shape == (9, 6, 3)


@pytest.mark.parametrize("content", [b"", b"text", picture(1)[:40], b"%PDF-1.4"])
def test_a_broken_image_in_another_file_is_named(content):
    with pytest.raises(BrokenFileError, match=r"^Image in\.tar/1\.jpg: expected a complete image"):
        read_image(PackedImage("in.tar/1.jpg", content))


def test_a_large_image_in_another_file_is_refused(monkeypatch):
    monkeypatch.setenv("STSEG_MAX_MEGAPIXELS", "0.0001")
    with pytest.raises(TooLargeError, match=r"Image in\.tar/1\.png: expected at most"):
        read_image(PackedImage("in.tar/1.png", picture(1)))
