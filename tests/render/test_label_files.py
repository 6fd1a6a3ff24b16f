import json

import numpy as np
import pytest
from PIL import Image

from stseg.data import read_ids, read_label
from stseg.render import SAVED_KINDS, class_colours, hex_colour, label_colours, label_encoding
from stseg.structures import Segmentation

LABELS = np.array([[0, 0, 1], [0, -1, -1]])
CONFIDENCE = np.array([[0.5, 0.7, 0.2], [0.9, 0.1, 0.1]])


def test_label_png_json_and_overlay_are_written(tmp_path):
    result = Segmentation(LABELS, CONFIDENCE, ("cat", "köter", "cow"))
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    files = result.save(tmp_path / "new" / "folder", "photo", image)
    names = sorted(p.name for p in files)
    assert names == ["photo.json", "photo.png", "photo_overlay.jpg"]
    assert names == sorted(p.name for p in files[0].parent.iterdir())  # nothing temporary stays
    png = Image.open(files[0])
    assert png.mode == "P" and np.array_equal(np.asarray(png), np.where(LABELS < 0, 255, LABELS))
    assert Image.open(files[0].parent / "photo_overlay.jpg").size == (3, 2)
    content = json.loads((files[0].parent / "photo.json").read_text(encoding="utf-8"))
    assert (content["width"], content["height"], content["unknown_value"]) == (3, 2, 255)
    assert content["unknown_share"] == pytest.approx(2 / 6, abs=1e-5)
    cat, dog, cow = content["classes"]
    colour = hex_colour(class_colours(["cat"])[0])
    assert cat == {
        "id": 0, "name": "cat", "colour": colour, "pixels": 3, "area_share": 0.5,
        "mean_confidence": 0.7,
    }  # fmt: skip
    assert dog["name"] == "köter" and dog["mean_confidence"] == 0.2
    assert cow["pixels"] == 0 and cow["mean_confidence"] is None


@pytest.mark.parametrize("count, dtype, unknown", [(254, np.uint8, 255), (255, np.uint16, 65535)])
def test_many_classes_need_sixteen_bits(tmp_path, count, dtype, unknown):
    labels = np.array([[count - 1, -1]])
    result = Segmentation(labels, np.ones((1, 2)), tuple(map(str, range(count))))
    path = result.save(tmp_path, "x")[0]
    values = np.asarray(Image.open(path))
    assert values.astype(int).tolist() == [[count - 1, unknown]]
    assert Image.open(path).mode.startswith("P" if dtype == np.uint8 else "I;16")


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="65535"):
        label_encoding(65536)


@pytest.mark.parametrize("stem", ["", "a/b", "a\\b"])
def test_stem_must_be_a_plain_name(tmp_path, stem):
    with pytest.raises(ValueError, match="stem"):
        Segmentation(LABELS, CONFIDENCE, ("a", "b")).save(tmp_path, stem)


RESULT = Segmentation(
    LABELS, CONFIDENCE, ("cat", "köter", "cow"), np.full((2, 3, 3), 9, dtype=np.uint8)
)


def test_a_label_png_shows_colours_and_keeps_ids_for_every_reader(tmp_path):
    path = RESULT.save(tmp_path, "x")[0]
    with Image.open(path) as picture:
        colours = np.asarray(picture.convert("RGB"))
    assert np.array_equal(colours, label_colours(LABELS, RESULT.names))
    assert np.array_equal(read_label(path, 3, [255]), LABELS)
    assert np.array_equal(read_ids(path), np.where(LABELS < 0, 255, LABELS))


def test_kinds_choose_the_files_and_labels_and_table_go_together(tmp_path):
    def saved(**options):
        return [path.name for path in RESULT.save(tmp_path, "x", **options)]

    assert saved() == ["x.png", "x.json", "x_overlay.jpg"]  # it has its image
    assert saved(kinds=["labels"]) == saved(kinds=["json"]) == ["x.png", "x.json"]
    every = ["x.png", "x.json", "x_overlay.jpg", "x_legend.jpg", "x_confidence.png"]
    assert saved(kinds=SAVED_KINDS) == every
    legend = Image.open(tmp_path / "x_legend.jpg")
    assert legend.height >= 360 and legend.width > legend.height
    values = np.asarray(Image.open(tmp_path / "x_confidence.png"))
    assert values.dtype == np.uint8
    assert values.tolist() == (255 * CONFIDENCE.astype(np.float32)).round().tolist()
    for kinds in (["mask"], "labels"):
        with pytest.raises(ValueError, match="expected a list out of labels, json, overlay"):
            saved(kinds=kinds)


def test_pictures_alone_are_replaced_by_their_like_and_replace_nothing_else(tmp_path):
    kinds = ["overlay", "confidence"]
    for _ in range(2):
        RESULT.save(tmp_path, "x", kinds=kinds)
    (tmp_path / "x_overlay.jpg").write_bytes(b"a photograph")
    with pytest.raises(FileExistsError, match="x_overlay.jpg: expected no file"):
        RESULT.save(tmp_path, "x", kinds=kinds)


def test_an_image_of_another_size_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="one size"):
        RESULT.save(tmp_path / "new", "x", np.zeros((3, 3, 3), dtype=np.uint8))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("count", [3, 300])
def test_what_was_saved_is_loaded(tmp_path, count):
    names = ("cat", "köter", "cow", *map(str, range(count - 3)))
    result = Segmentation(LABELS, CONFIDENCE, names)
    result.save(tmp_path, "x", kinds=["labels", "confidence"])
    loaded = Segmentation.load(tmp_path / "x.json")
    assert loaded.names == names and np.array_equal(loaded.label_map, LABELS)
    assert loaded.image is None and np.abs(loaded.confidence - CONFIDENCE).max() < 0.51 / 255
    result.save(tmp_path, "y")
    means = [[0.7, 0.7, 0.2], [0.7, 0, 0]]
    assert np.allclose(Segmentation.load(tmp_path / "y.json").confidence, means)


def test_what_does_not_fit_is_not_loaded(tmp_path):
    RESULT.save(tmp_path, "x")
    Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: expected 2 x 3"):
        Segmentation.load(tmp_path / "x.json")
    Image.fromarray(np.full((2, 3), 7, dtype=np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: expected ids below 3.*got 7"):
        Segmentation.load(tmp_path / "x.json")
    for text in ("{}", "no JSON"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json: expected the JSON"):
            Segmentation.load(tmp_path / "x.json")


def test_what_was_saved_is_read_whatever_limit_pillow_has(tmp_path, monkeypatch):
    labels = np.zeros((20, 30), np.int32)
    Segmentation(labels, labels.astype(np.float32), ("a",)).save(tmp_path, "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert (Segmentation.load(tmp_path / "x.json").label_map == labels).all()
    assert Image.MAX_IMAGE_PIXELS == 40
