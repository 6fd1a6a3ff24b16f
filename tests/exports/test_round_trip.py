"""Every format is read back by its own rule, pixel by pixel."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from stseg.data.readers.coco_instances import read_coco
from stseg.data.readers.labelme import read_labelme
from stseg.exports import write_export
from tests.exports.label_maps import NAMES, label_maps, results


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, labels in expected.items():
        assert np.array_equal(found[name], labels), name


def put(canvas, mask, value):
    """Objects must not overlap, so that their order does not matter."""
    assert mask.any() and (canvas[mask] == -1).all()
    canvas[mask] = value


def test_coco_by_pycocotools(tmp_path, capsys):
    (path,) = write_export("coco", results(), tmp_path)
    coco = COCO(path)
    assert [coco.cats[i]["name"] for i in range(1, len(NAMES) + 1)] == list(NAMES)
    found = {}
    for image in coco.imgs.values():
        canvas = found[image["file_name"]] = np.full((image["height"], image["width"]), -1)
        for annotation in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(annotation).astype(bool)
            put(canvas, mask, annotation["category_id"] - 1)
            assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
    same(found, label_maps())
    assert len(coco.anns) == sum(len(np.unique(m[m >= 0])) for m in label_maps().values())


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, labels in label_maps().items():
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / name)
    return tmp_path / "photos"


def drawn(annotations):
    ids = {name: i for i, name in enumerate(NAMES)}
    drawings = annotations.drawings
    return {f"photos/{Path(d.image).name}": annotations.draw(d, d.size, ids, -1) for d in drawings}


def test_coco_by_our_reader(tmp_path, photos):
    (path,) = write_export("coco", results(), tmp_path / "out")
    annotations = read_coco("x", photos.parent, path)
    assert annotations.names == NAMES
    # An image without an object has no annotation.
    same(drawn(annotations), {k: m for k, m in label_maps().items() if (m >= 0).any()})


def test_labelme_by_our_reader(tmp_path, photos):
    files = write_export("labelme", results(), tmp_path / "out")
    assert [path.name for path in files] == [f"{Path(n).stem}.json" for n in label_maps()]
    same(drawn(read_labelme("x", photos, tmp_path / "out")), label_maps())


def test_labelme_leads_to_the_image_where_it_is(tmp_path, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_export("labelme", results()[:1], "out")[0]
    image = json.loads(path.read_text(encoding="utf-8"))["imagePath"]
    assert image == "../photos/0 ä.jpg" and (path.parent / image).is_file()


def test_yolo_by_the_rule_of_ultralytics(tmp_path):
    table, *files = write_export("yolo", results(), tmp_path)
    content = yaml.safe_load(table.read_text(encoding="utf-8"))
    assert content["names"] == dict(enumerate(NAMES))
    found = {}
    for (name, labels), path in zip(label_maps().items(), files, strict=True):
        assert path == tmp_path / "labels" / f"{Path(name).stem}.txt"
        canvas = found[name] = np.full(labels.shape, -1)
        for line in path.read_text().splitlines():
            class_id, *shares = line.split()
            assert len(shares) >= 6  # fewer would be a box
            points = np.array(shares, dtype=np.float32).reshape(-1, 2)
            assert points.min() >= 0 and points.max() <= 1
            mask = np.zeros(canvas.shape, dtype=np.uint8)
            cv2.fillPoly(mask, [(points * labels.shape[::-1]).astype(np.int32)], 1)
            put(canvas, mask > 0, int(class_id))
    same(found, label_maps())


def cvat_mask(attributes, size):
    """As CVAT reads it: runs of the box by rows, the first outside of the mask."""
    left, top, width, height = (int(attributes[k]) for k in ("left", "top", "width", "height"))
    runs = [int(text) for text in attributes["rle"].split(",")]
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    assert flat.size == width * height
    mask = np.zeros(size, dtype=bool)
    mask[top : top + height, left : left + width] = flat.reshape(height, width)
    return mask


def test_cvat_by_its_run_lengths(tmp_path):
    (path,) = write_export("cvat", results(), tmp_path)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [label.findtext("name") for label in root.iter("label")] == list(NAMES)
    found = {}
    for image in root.iter("image"):
        size = int(image.get("height")), int(image.get("width"))
        canvas = found[image.get("name")] = np.full(size, -1)
        for mask in image.iter("mask"):
            put(canvas, cvat_mask(mask.attrib, size), NAMES.index(mask.get("label")))
    assert [image.get("id") for image in root.iter("image")] == [str(k) for k in range(len(found))]
    same(found, label_maps())


def brush_values(code):
    """All values of a brush code, as the decoder of Label Studio's converter reads its bits."""
    bits, place = "".join(f"{byte:08b}" for byte in code), 0

    def read(count):
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    values = np.zeros(read(32), dtype=np.uint8)
    word = read(5) + 1
    counters = [read(4) + 1 for _ in range(4)]
    k = 0
    while k < len(values):
        is_run = read(1)
        end = k + 1 + read(counters[read(2)])
        if is_run:
            values[k:end], k = read(word), end
        while k < end:
            values[k], k = read(word), k + 1
    return values


def test_label_studio_by_its_brush_code(tmp_path):
    tasks, config = write_export("label_studio", results(), tmp_path)
    view = ElementTree.parse(config).getroot()
    image, labels = view.find("Image"), view.find("BrushLabels")
    assert image.get("value") == "$image" and labels.get("toName") == image.get("name")
    assert [label.get("value") for label in labels] == list(NAMES)
    found = {}
    for task in json.loads(tasks.read_text(encoding="utf-8")):
        name = task["data"]["image"]
        canvas = found[name] = np.full(label_maps()[name].shape, -1)
        for region in task["predictions"][0]["result"]:
            assert region["from_name"] == labels.get("name")
            assert (region["to_name"], region["type"]) == (image.get("name"), "brushlabels")
            size = region["original_height"], region["original_width"]
            assert size == canvas.shape and region["value"]["format"] == "rle"
            mask = brush_values(region["value"]["rle"]).reshape(*size, 4)
            assert set(np.unique(mask)) <= {0, 255} and (mask == mask[..., :1]).all()
            (label,) = region["value"]["brushlabels"]
            put(canvas, mask[..., 3] > 0, NAMES.index(label))
    same(found, label_maps())


def test_long_runs_of_the_brush_code_are_parted(tmp_path):
    from stseg.exports.as_label_studio import brush_code

    mask = np.zeros((300, 400), dtype=bool)
    mask[100:, :] = True
    assert np.array_equal(brush_values(brush_code(mask)).reshape(300, 400, 4)[..., 3] > 0, mask)
