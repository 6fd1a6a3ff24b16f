"""Pictures as cameras, microscopes and web pages make them, read right or named."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from stseg.data.image_io import (
    BrokenFileError,
    image_size,
    read_colours,
    read_ids,
    read_image,
    read_turned,
    to_rgb,
)
from stseg.data.opening import LIMIT_VARIABLE
from tests.data.test_image_io import STORED

RAMP = np.linspace(0, 1, 64)[None].repeat(48, 0)
SEEN = np.random.default_rng(0).integers(0, 256, (10, 20, 3)).astype(np.uint8)


def entry(tag, kind, count, value):
    return struct.pack("<HHI", tag, kind, count) + value


def exif(*entries):
    """EXIF that no library would write."""
    table = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + table


TURN = entry(0x112, 3, 1, struct.pack("<HH", 6, 0))
DAMAGED = {
    "a ratio of nothing": [TURN, entry(0x11A, 10, 1, struct.pack("<I", 9999))],
    "a resolution in words": [TURN, entry(0x11A, 2, 4, b"72\0\0")],
    "a date of floats": [TURN, entry(0x132, 12, 1, struct.pack("<I", 8))],
    "a maker's note that leads out": [TURN, entry(0x8769, 4, 1, struct.pack("<I", 1 << 30))],
    "an orientation twice over": [entry(0x112, 3, 2, struct.pack("<HH", 6, 6))],
    "an orientation of 32 bits": [entry(0x112, 4, 1, struct.pack("<I", 6))],
}


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_in_exif_costs_neither_the_picture_nor_its_turn(tmp_path, damage, suffix):
    path = tmp_path / f"a{suffix}"
    stored = np.ascontiguousarray(np.rot90(SEEN))
    lossless = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(stored).save(path, exif=exif(*DAMAGED[damage]), **lossless)
    pixels, turn = read_turned(path)
    assert (pixels == SEEN).all() and turn == 6
    assert image_size(path) == (10, 20)
    with Image.open(path) as image:
        assert (to_rgb(image) == SEEN).all()


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_is_none_leaves_the_picture_as_it_is(tmp_path, value):
    turn = entry(0x112, 3, 1, struct.pack("<HH", value, 0))
    Image.fromarray(SEEN).save(tmp_path / "a.png", exif=exif(turn))
    assert (read_image(tmp_path / "a.png") == SEEN).all()


def test_exif_that_is_noise_is_not_looked_at(tmp_path):
    Image.fromarray(SEEN).save(tmp_path / "a.png", exif=b"Exif\0\0" + bytes(range(60)))
    assert (read_image(tmp_path / "a.png") == SEEN).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "rgb.png", "rgb.tif", "rgba.png"])
def test_a_camera_of_any_depth_gives_the_whole_range(tmp_path, bits, name):
    values = (RAMP * (2**bits - 1)).astype(np.uint16)
    if name.startswith("rgb"):
        values = np.dstack([values, values // 2, values // 4])
    if name.startswith("rgba"):
        values = np.dstack([values, np.full(RAMP.shape, 65535, np.uint16)])
    if values.ndim == 3:
        cv2.imwrite(str(tmp_path / name), values[..., [2, 1, 0, 3][: values.shape[2]]])
    else:
        Image.fromarray(values).save(tmp_path / name)
    pixels = read_image(tmp_path / name).astype(int)
    shares = (1, 2, 4) if values.ndim == 3 else (1, 1, 1)
    for channel, share in enumerate(shares):
        assert abs(pixels[..., channel] - RAMP * 255 / share).max() <= 1.5


def tiff(values, orientation):
    """A TIFF of 16-bit colours or floats as no library here writes it: turned."""
    height, width, channels = values.shape
    kind = 3 if values.dtype.kind == "f" else 1
    tags = [
        (256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 2), (273, 8),
        (274, orientation), (277, channels), (278, height), (279, values.nbytes), (339, kind),
    ]  # fmt: skip
    table = struct.pack("<H", len(tags))
    for tag, value in tags:
        count = channels if tag in (258, 339) else 1
        if count == 3:
            value = 8 + values.nbytes + 2 + 12 * len(tags) + 4 + (6 if tag == 339 else 0)
        table += struct.pack(
            "<HHII", tag, 3 if count == 1 and tag < 278 else 3 if count == 3 else 4, count, value
        )
    table += struct.pack("<I", 0)
    table += struct.pack("<3H", *[8 * values.itemsize] * 3) + struct.pack("<3H", *[kind] * 3)
    return b"II*\0" + struct.pack("<I", 8 + values.nbytes) + values.tobytes() + table


@pytest.mark.parametrize("orientation", STORED)
def test_deep_colours_are_turned_too(tmp_path, orientation):
    stored = np.ascontiguousarray(STORED[orientation](SEEN))
    cv2.imwrite(str(tmp_path / "a.png"), stored[..., ::-1].astype(np.uint16) * 257)
    raw = (tmp_path / "a.png").read_bytes()
    block = b"eXIf" + exif(entry(0x112, 3, 1, struct.pack("<HH", orientation, 0)))[6:]
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    (tmp_path / "a.png").write_bytes(raw[:33] + chunk + raw[33:])
    (tmp_path / "b.tif").write_bytes(tiff(stored.astype("<u2") * 257, orientation))
    (tmp_path / "c.tif").write_bytes(tiff((stored / 255).astype("<f4"), orientation))
    for name in ("a.png", "b.tif", "c.tif"):
        assert (read_image(tmp_path / name) == SEEN).all(), name
        assert image_size(tmp_path / name) == (10, 20)
    assert read_turned(tmp_path / "a.png")[1] == read_turned(tmp_path / "b.tif")[1] == orientation


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_half_of_a_deep_picture_is_broken(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / name), noise)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BrokenFileError, match=name):
        read_image(tmp_path / name)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("top, white", [(1, 1), (1.4, 1), (255, 255), (4095, 4095)])
def test_floats_are_shown_in_their_range(tmp_path, top, white, colours):
    values = (RAMP * top).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -9999
    expected = (np.minimum(RAMP * top / white, 1) * 255)[1:]
    values = np.dstack([values] * 3) if colours else values
    if colours:
        cv2.imwrite(str(tmp_path / "a.tif"), values)
    else:
        Image.fromarray(values).save(tmp_path / "a.tif")
    pixels = read_image(tmp_path / "a.tif").astype(float)
    assert abs(pixels[1:] - expected[..., None]).max() <= 1.5
    assert pixels[0, :3, 0].tolist() == [0, 255, 0]
    assert image_size(tmp_path / "a.tif") == RAMP.shape


@pytest.mark.parametrize("strange", [256, 5000, 65535])
def test_one_dead_pixel_does_not_darken_the_picture(tmp_path, strange):
    values = (RAMP * 255).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "good.png")
    values[5, 5] = strange
    Image.fromarray(values).save(tmp_path / "dead.png")
    good, dead = (read_image(tmp_path / f"{name}.png") for name in ("good", "dead"))
    assert dead[5, 5].tolist() == [255] * 3
    dead[5, 5] = good[5, 5]
    assert (good == dead).all()


def test_whole_numbers_of_32_bits_are_shown_in_their_range(tmp_path):
    Image.fromarray((RAMP * (2**31 - 1)).astype(np.int32)).save(tmp_path / "a.tif")
    assert abs(read_image(tmp_path / "a.tif")[..., 0] - RAMP * 255).max() <= 1.5


def test_the_range_that_is_taken_is_told_once_with_a_file(tmp_path, caplog):
    for name in ("a.png", "b.png"):
        Image.fromarray((RAMP * 999).astype(np.uint16)).save(tmp_path / name)
        read_image(tmp_path / name)
    told = [text for text in caplog.messages if "1023 (white)" in text]
    assert len(told) <= 1 and all("a.png" in text for text in told)


def test_pictures_beyond_the_limit_of_pillow_are_read_and_its_limit_stays(tmp_path, monkeypatch):
    Image.fromarray(SEEN).save(tmp_path / "a.png")
    Image.fromarray(SEEN[..., 0] % 3).save(tmp_path / "ids.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert (read_image(tmp_path / "a.png") == SEEN).all()
    assert (read_ids(tmp_path / "ids.png") == SEEN[..., 0] % 3).all()
    assert image_size(tmp_path / "a.png") == (10, 20)
    assert Image.MAX_IMAGE_PIXELS == 40


def test_what_would_fill_the_memory_is_named_with_size_limit_and_cure(tmp_path, monkeypatch):
    Image.fromarray(SEEN).save(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT_VARIABLE, "0.0001")
    with pytest.raises(ValueError, match=rf"a\.png.*at most.*20 x 10.*set {LIMIT_VARIABLE}"):
        read_image(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (10, 20)


PAGES = {".gif": {}, ".png": {}, ".webp": {"lossless": True}, ".tif": {}}


@pytest.mark.parametrize("suffix", PAGES)
def test_of_several_frames_the_first_is_taken_and_their_number_told_once(tmp_path, suffix, caplog):
    frames = [Image.new("RGB", (6, 4), (60 * k, 0, 0)) for k in range(3)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **PAGES[suffix])
    for _ in range(2):
        assert read_image(path).max() == 0
    told = [text for text in caplog.messages if "got 3 frames" in text]
    assert len(told) == 1 and path.name in told[0]


def test_what_goes_with_a_picture_is_no_page(tmp_path, caplog):
    small = TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as file:
        Image.fromarray(SEEN).save(file, "TIFF")
        file.newFrame()
        Image.fromarray(SEEN[::2, ::2]).save(file, "TIFF", tiffinfo=small)
    Image.fromarray(SEEN).save(
        tmp_path / "b.jpg", "MPO", save_all=True, append_images=[Image.fromarray(SEEN[::2])]
    )
    assert (read_image(tmp_path / "a.tif") == SEEN).all()
    assert read_image(tmp_path / "b.jpg").shape == SEEN.shape
    assert not caplog.messages


def test_a_label_map_of_several_pages_is_refused(tmp_path):
    pages = [Image.new("L", (6, 4), k) for k in range(2)]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(ValueError, match=rf"{name}: expected one map, got 2"):
            read_ids(tmp_path / name)


def test_ids_that_went_through_a_photographs_compression_are_refused(tmp_path):
    ids = Image.fromarray((np.indices((16, 16)).sum(0) % 5).astype(np.uint8))
    ids.save(tmp_path / "a.png", "JPEG")
    ids.save(tmp_path / "a.tif", "TIFF", compression="jpeg")
    ids.save(tmp_path / "b.png", "MPO", save_all=True, append_images=[ids])
    for name in ("a.png", "a.tif", "b.png"):
        with pytest.raises(ValueError, match=rf"{name}: .* without loss, got .* (JPEG|MPO)"):
            read_ids(tmp_path / name)
    ids.save(tmp_path / "good.tif", compression="tiff_lzw")
    assert (read_ids(tmp_path / "good.tif") == np.asarray(ids)).all()
    for kind in ("JPEG", "WEBP"):
        Image.fromarray(SEEN).save(tmp_path / "panoptic.png", kind)
        with pytest.raises(ValueError, match="panoptic.png.*without loss"):
            read_colours(tmp_path / "panoptic.png", "Panoptic map")


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "tiles.png").mkdir()
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    kinds = {
        "pipe": "a pipe",
        "tiles": "a folder",
        "circle": "in a circle",
        "nowhere": "leads nowhere",
        "zero": "a device",
    }
    for name, kind in kinds.items():
        for read in (read_image, image_size, read_ids):
            with pytest.raises(BrokenFileError, match=rf"{name}\.png: expected a file.*{kind}"):
                read(tmp_path / f"{name}.png")


def test_no_message_about_a_map_asks_to_remove_a_photograph(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BrokenFileError, match="Make it anew") as caught:
        read_ids(tmp_path / "a.png")
    assert "partner" not in str(caught.value)
