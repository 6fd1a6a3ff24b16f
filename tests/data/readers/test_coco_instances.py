import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from stseg.data.readers import register_data
from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def write_coco(tmp_path, change):
    """A COCO data set of one image after `change(content)`."""
    data.write_images(tmp_path / "set" / "images", 1)
    content = data.coco_json(1)
    change(content)
    data.write_json(tmp_path / "set" / "instances.json", content)


def test_of_overlapping_masks_the_smaller_one_is_seen_whatever_the_order(tmp_path):
    for name, change in (("a", lambda c: None), ("b", lambda c: c["annotations"].reverse())):
        write_coco(tmp_path / name, change)
        register_data({"name": name, "format": "coco", "path": str(tmp_path / name / "set")})
    first, second = (DatasetCatalog.get(name)[0]["sem_seg_file_name"] for name in "ab")
    assert (np.array(Image.open(first)) == data.truth(0)).all()
    assert (np.array(Image.open(second)) == data.truth(0)).all()


def test_compressed_run_lengths_and_crowds_are_read(tmp_path):
    from pycocotools import mask as mask_utils

    def compress(content):
        mask = np.asfortranarray((data.truth(0) == 0).astype(np.uint8))
        shape = mask_utils.encode(mask)
        shape["counts"] = shape["counts"].decode()
        content["annotations"][0] |= {"segmentation": shape, "iscrowd": 1}

    write_coco(tmp_path, compress)
    register(tmp_path / "set", "coco")
    assert (label_maps()[0] == data.truth(0)).all()


def test_images_without_annotations_are_left_out_and_told(tmp_path):
    def add(content):
        content["images"].append({"id": 5, "file_name": "empty.png"})

    write_coco(tmp_path, add)
    assert "1 images without annotations" in register(tmp_path / "set", "coco")
    assert len(DatasetCatalog.get("mine")) == 1


def test_folders_in_file_names_are_kept_in_the_label_maps(tmp_path):
    def move(content):
        content["images"][0]["file_name"] = "city/00.png"

    write_coco(tmp_path, move)
    images = tmp_path / "set" / "images"
    (images / "city").mkdir()
    (images / "00.png").rename(images / "city" / "00.png")
    register(tmp_path / "set", "coco")
    assert DatasetCatalog.get("mine")[0]["sem_seg_file_name"].endswith("labels/city/00.png")


def _set(where, **values):
    return lambda content: content[where][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("annotations", image_id=9), "annotation 1: expected image_id .*got 9"),
        (_set("annotations", category_id=9), "annotation 1: expected category_id .*got 9"),
        (_set("annotations", image_id=[1]), "annotation 1: expected image_id"),
        (_set("annotations", segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "got 7 numbers"),
        (_set("annotations", segmentation=[1, 2, 3, 4, 5, 6]), "polygon x1, y1"),
        (_set("annotations", segmentation={"counts": [5], "size": [24, 32]}), "got 5 pixels"),
        (_set("annotations", segmentation={"counts": [768], "size": [32, 24]}), "masks of 24 x 32"),
        (_set("annotations", segmentation={"counts": "4", "size": [24, 32]}), "masks of 24 x 32"),
        (_set("images", width=31), "expected the size of its image .*24 x 32, got 24 x 31"),
        (_set("images", file_name=None), "image 1: expected a 'file_name'"),
        (_set("categories", name="bright"), "different names and ids, got bright"),
        (_set("categories", id="x"), "categories with an 'id'"),
        (lambda c: c.update(images=[3]), "expected a list of objects at 'images'"),
        (lambda c: c.update(annotations=[]), "expected annotations in .*instances.json, got none"),
        (lambda c: c.pop("categories"), "with images, annotations, categories, got keys"),
    ],
)
def test_a_faulty_coco_file_is_named(tmp_path, change, message):
    write_coco(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        register(tmp_path / "set", "coco")
    assert "instances.json" in str(caught.value)


def test_annotations_of_images_that_are_not_there_are_named(tmp_path):
    write_coco(tmp_path, _set("images", file_name="gone.png"))
    with pytest.raises(FileNotFoundError, match="instances.json describes.*nothing for gone.png"):
        register(tmp_path / "set", "coco")


def test_of_several_json_one_must_be_named(tmp_path):
    data.write_coco(tmp_path / "set")
    data.write_json(tmp_path / "set" / "captions.json", {})
    with pytest.raises(ValueError, match="expected one JSON in .*captions.json, instances.json"):
        register(tmp_path / "set", "coco")
    register(tmp_path / "set", "coco", annotation=str(tmp_path / "set/annotations/instances.json"))


def test_images_may_lie_beside_the_json(tmp_path):
    write_coco(tmp_path, lambda content: None)
    images = tmp_path / "set" / "images"
    (images / "00.png").rename(tmp_path / "set" / "00.png")
    images.rmdir()
    register(tmp_path / "set", "coco")
    assert (label_maps()[0] == data.truth(0)).all()
