import numpy as np
import pytest
from PIL import Image

from stseg.data.image_io import BrokenFileError, image_size, read_image, read_label, to_rgb
from stseg.structures import IGNORE_LABEL


def _save(path, array, **kwargs):
    Image.fromarray(array).save(path, **kwargs)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_labels_are_read_without_loss(tmp_path, suffix):
    ids = np.array([[0, 255, 256], [458, 846, 65535]], dtype=np.uint16)
    label = read_label(_save(tmp_path / f"a{suffix}", ids), 847, [65535])
    assert label.dtype == np.int64
    assert label.tolist() == [[0, 255, 256], [458, 846, IGNORE_LABEL]]


def test_the_index_of_a_palette_label_is_its_id(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 255]], dtype=np.uint8), mode="P")
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200] + [0] * 759)
    image.save(tmp_path / "a.png")
    assert read_label(tmp_path / "a.png", 3, [255]).tolist() == [[0, 1], [2, -1]]


def test_both_ignored_ids_of_pascal_context_459_are_ignored(tmp_path):
    ids = np.array([[458, 459, 65535]], dtype=np.uint16)
    assert read_label(_save(tmp_path / "a.tif", ids), 459, [459, 65535]).tolist() == [[458, -1, -1]]


def test_an_id_outside_the_vocabulary_is_refused_by_file_id_and_cure(tmp_path):
    path = _save(tmp_path / "bad.png", np.array([[0, 3], [9, 255]], dtype=np.uint8))
    with pytest.raises(ValueError, match=r"bad\.png.*0 to 2 \(3 classes\).*got 3, 9\. Prepare"):
        read_label(path, 3, [255])


def test_a_wholly_wrong_map_does_not_print_every_id(tmp_path):
    path = _save(tmp_path / "a.png", np.arange(250, dtype=np.uint8)[None])
    with pytest.raises(ValueError, match="and 237 more"):
        read_label(path, 5, [255])


def test_a_colour_label_is_refused_by_name(tmp_path):
    path = _save(tmp_path / "colour.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"colour\.png.*mode RGB"):
        read_label(path, 3, [255])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_an_empty_or_truncated_image_is_named(tmp_path, suffix, keep):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    path = _save(tmp_path / f"broken{suffix}", pixels)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(BrokenFileError, match=f"broken{suffix}") as caught:
        read_image(path)
    assert caught.value.__cause__ is not None


def test_a_truncated_label_is_named(tmp_path):
    ids = np.random.default_rng(0).integers(0, 5, (80, 80)).astype(np.uint8)
    path = _save(tmp_path / "broken.png", ids)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BrokenFileError, match="broken.png"):
        read_label(path, 5, [255])


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        read_image(tmp_path / "nowhere.jpg")


#: What a camera stores of a picture that people see, by EXIF orientation (EXIF 2.32, table 6).
STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: np.rot90(seen),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1),
    8: lambda seen: np.rot90(seen, -1),
}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    seen = np.random.default_rng(0).integers(0, 256, (10, 20, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](seen))
    lossless = {"lossless": True} if suffix == ".webp" else {}
    path = _save(tmp_path / f"turned{suffix}", stored, exif=exif, **lossless)
    assert (read_image(path) == seen).all()
    assert image_size(path) == (10, 20)
    with Image.open(path) as image:
        assert (to_rgb(image) == seen).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8


def test_sixteen_bit_grey_images_are_scaled_not_clipped(tmp_path):
    path = _save(tmp_path / "a.png", np.array([[0, 256, 65535]], dtype=np.uint16))
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 255]


def test_sixteen_bits_that_hold_eight_are_taken_as_eight(tmp_path):
    path = _save(tmp_path / "a.png", np.array([[0, 7, 255]], dtype=np.uint16))
    assert read_image(path)[0, :, 0].tolist() == [0, 7, 255]
