import json

import numpy as np
import pytest
from PIL import Image

from stseg.render.label_files import label_encoding
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
    assert png.mode == "L" and np.array_equal(np.asarray(png), np.where(LABELS < 0, 255, LABELS))
    Image.open(files[0].parent / "photo_overlay.jpg").load()
    content = json.loads((files[0].parent / "photo.json").read_text(encoding="utf-8"))
    assert (content["width"], content["height"], content["unknown_value"]) == (3, 2, 255)
    assert content["unknown_share"] == pytest.approx(2 / 6, abs=1e-5)
    cat, dog, cow = content["classes"]
    assert cat == {
        "id": 0, "name": "cat", "pixels": 3, "area_share": 0.5, "mean_confidence": 0.7,
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
    assert Image.open(path).mode.startswith("L" if dtype == np.uint8 else "I;16")


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="65535"):
        label_encoding(65536)


@pytest.mark.parametrize("stem", ["", "a/b", "a\\b"])
def test_stem_must_be_a_plain_name(tmp_path, stem):
    with pytest.raises(ValueError, match="stem"):
        Segmentation(LABELS, CONFIDENCE, ("a", "b")).save(tmp_path, stem)
