import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from stseg.data.datasets.listing import list_pairs
from stseg.data.readers import list_images, register_images


def _photo(path, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return str(path)


def _mixed_folder(root):
    """Three readable images, two broken ones and files of other kinds."""
    good = [_photo(root / name) for name in ("a.jpg", "a.png", "z.TIFF")]
    whole = (root / "a.jpg").read_bytes()
    (root / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    (root / "._a.jpg").write_bytes(b"resource fork")
    _photo(root / "below" / "b.jpg")
    _photo(root / ".cache" / "thumb.jpg")
    return good


def test_unreadable_images_are_listed_and_left_out(tmp_path):
    good = _mixed_folder(tmp_path)
    records, skipped = list_images(tmp_path)
    assert records == [{"file_name": path} for path in good]
    assert [path for path, _ in skipped] == [
        str(tmp_path / "empty.png"),
        str(tmp_path / "half.jpg"),
    ]
    assert all("cannot be decoded" in reason for _, reason in skipped)


def test_folders_below_are_searched_when_asked_for(tmp_path):
    good = _mixed_folder(tmp_path)
    records, _ = list_images(tmp_path, recursive=True)
    expected = sorted([*good, str(tmp_path / "below" / "b.jpg")])
    assert [record["file_name"] for record in records] == expected


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"\.jpg .*got an empty folder") as caught:
        list_images(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_of_other_files_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"\.tiff\) in .*got none among 1 files"):
        list_images(tmp_path)


def test_images_only_below_are_pointed_at(tmp_path):
    _photo(tmp_path / "below" / "b.jpg")
    with pytest.raises(ValueError, match="only in folders below"):
        list_images(tmp_path)


def test_a_folder_of_broken_images_is_named_with_the_first_reason(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"1 broken files.*a\.jpg.*cannot be decoded"):
        list_images(tmp_path)


def test_what_is_no_folder_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path / "file.jpg"):
        if path.suffix:
            path.write_bytes(b"")
        with pytest.raises(FileNotFoundError, match="expected a folder, got"):
            list_images(path)


def test_a_folder_and_a_names_file_become_a_data_set(tmp_path, clean_catalog, caplog):
    good = _mixed_folder(tmp_path / "photos")
    (tmp_path / "names.txt").write_text("sky\nroad, street\n")
    skipped = register_images("mine", tmp_path / "photos", tmp_path / "names.txt")
    assert len(skipped) == 2 and "half.jpg" in caplog.text and "2 of 5 images" in caplog.text
    assert [record["file_name"] for record in DatasetCatalog.get("mine")] == good
    metadata = MetadataCatalog.get("mine")
    assert metadata.vocabulary.synonyms == (("sky",), ("road", "street"))
    assert metadata.ignore_label == 255
    assert register_images("mine", tmp_path / "photos", tmp_path / "names.txt") == skipped
    with pytest.raises(ValueError, match="'mine'.*registered for other data"):
        register_images("mine", tmp_path / "photos", "sky; car")


def test_many_classes_are_ignored_by_a_16_bit_id(tmp_path, clean_catalog):
    _photo(tmp_path / "a.jpg")
    register_images("mine", tmp_path, [f"name {i}" for i in range(847)])
    assert MetadataCatalog.get("mine").ignore_label == 65535


def test_the_facades_are_listed_like_any_folder(shared_dir):
    folder = shared_dir / "data" / "facades" / "images" / "train"
    records, skipped = list_images(folder)
    assert not skipped and records == list_pairs("facades", folder, None)
