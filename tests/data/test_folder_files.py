"""What lies in a folder: each image once, nothing waited for, nothing left out without a word."""

import os

import numpy as np
import pytest
from PIL import Image

from stseg.data.datasets.listing import Naming, list_pairs
from stseg.data.image_io import IMAGE_SUFFIXES, read_image
from stseg.data.media import find_media
from stseg.data.opening import HEIF_SUFFIXES, BrokenFileError
from stseg.data.readers import list_images
from stseg.evaluation.label_images import pair_folders
from stseg.utils import is_installed


@pytest.fixture
def photos(tmp_path):
    """Two images, and what else people have in such folders."""
    folder = tmp_path / "photos"
    (folder / "tiles.png").mkdir(parents=True)
    picture = Image.fromarray(np.full((4, 6, 3), 90, np.uint8))
    for name in ("a.jpg", "tiles.png/t.png", "below.jpg"):
        picture.save(folder / name)
    os.rename(folder / "below.jpg", folder / "saved.jfif")
    for name in ("b.pdf", "c.cr2", "d.cr2", "notes.txt", "bare", ".hidden.png"):
        (folder / name).write_bytes(b"something")
    return folder


def found(*inputs, **options):
    return [p.name for p in find_media(list(map(str, inputs)), **options)]


def test_what_is_left_out_is_counted_with_the_cure(photos, caplog):
    assert found(photos) == ["a.jpg", "saved.jfif"]
    text = caplog.text
    assert "5 files of other kinds" in text and "2 .cr2" in text and "1 .pdf" in text
    assert "1 folders below" in text and "pages" in text and "develop" in text
    caplog.clear()
    records, skipped = list_images(photos)
    assert len(records) == 2 and not skipped and "2 .cr2" in caplog.text


def test_a_folder_is_a_folder_whatever_it_is_called(photos):
    assert found(photos, recursive=True) == ["a.jpg", "saved.jfif", "t.png"]
    assert found(photos / "*") == ["a.jpg", "saved.jfif"]
    assert found(photos / "tiles.png") == ["t.png"]
    assert len(list_images(photos, recursive=True)[0]) == 3
    assert len(list_pairs("mine", photos, None)) == 2


def test_files_beside_images_are_no_reason_to_warn(tmp_path, caplog):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "names.txt").write_text("cat")
    (tmp_path / "a.json").write_text("{}")
    assert found(tmp_path) == ["a.png"]
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_links_in_a_circle_end(photos):
    for name in ("up", "again"):
        (photos / "tiles.png" / name).symlink_to(photos, target_is_directory=True)
    (photos / "self").symlink_to(photos / "self")
    assert found(photos, recursive=True) == ["a.jpg", "saved.jfif", "t.png"]
    assert sorted(found(photos / "**" / "*.png")) == ["t.png"]
    assert sorted(found(photos / "**")) == ["a.jpg", "saved.jfif", "t.png"]
    assert len(list_images(photos, recursive=True)[0]) == 3
    assert [r["file_name"][-5:] for r in list_pairs("x", photos, None, Naming(nested=True))] == [
        "a.jpg",
        ".jfif",
        "t.png",
    ]


def test_a_linked_folder_is_looked_into_once(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "elsewhere" / "far.png")
    for name in ("one", "two"):
        (photos / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert found(photos, recursive=True).count("far.png") == 1


def test_what_is_no_file_is_named_where_files_are_read(photos):
    os.mkfifo(photos / "pipe.png")
    (photos / "gone.png").symlink_to(photos / "nothing.png")
    assert {"pipe.png", "gone.png"} <= set(found(photos))
    assert found(photos / "pipe.png") == ["pipe.png"]
    with pytest.raises(BrokenFileError, match="pipe.png: expected a file, got a pipe"):
        read_image(photos / "pipe.png")
    records, skipped = list_images(photos)
    assert len(records) == 2
    assert [("pipe" in path, "pipe" in why) for path, why in skipped] == [(0, 0), (1, 1)]


def test_a_pipe_among_label_maps_is_not_passed_over(tmp_path):
    for name in ("pred", "gt"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / "a.png")
    (pair,) = pair_folders(tmp_path / "pred", tmp_path / "gt")
    assert pair.name == "a"


@pytest.mark.skipif(is_installed("pillow_heif"), reason="pillow-heif reads it")
def test_heic_without_its_reader_is_named_with_the_cure(tmp_path):
    for name in ("a.heic", "phone.jpg"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
        with pytest.raises(BrokenFileError, match=rf"{name}.*install pillow-heif"):
            read_image(tmp_path / name)


def test_a_page_that_is_called_an_image_is_named_so(tmp_path):
    (tmp_path / "scan.jpg").write_bytes(b"%PDF-1.7 and so on")
    with pytest.raises(BrokenFileError, match=r"scan\.jpg.*PDF: save the pages"):
        read_image(tmp_path / "scan.jpg")


def test_every_kind_that_is_looked_for_is_read(tmp_path):
    for suffix in set(IMAGE_SUFFIXES) - set(HEIF_SUFFIXES):
        kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
        Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(tmp_path / f"a{suffix}", kind)
        assert abs(read_image(tmp_path / f"a{suffix}").astype(int) - 90).max() < 8, suffix
