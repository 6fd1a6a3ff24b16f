import json
import shutil

import numpy as np
import pytest
from PIL import Image

from stseg.data.readers import register_data
from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def test_a_real_panoptic_map_gives_the_published_areas(tmp_path, shared_dir):
    """Ids, categories and areas of image 142238 of COCO val2017, from panoptic_examples.json."""
    people = [3937500, 4260062, 2035955, 4325578, 2628072, 2822390, 5186532, 4917453, 3476419]
    people += [3997935, 2098642, 5314498, 4721614, 3153362]
    segments = dict.fromkeys(people, 1) | {16757838: 37, 2330219: 184, 11829830: 187, 10025880: 193}
    names = {1: "person", 37: "sports ball", 184: "tree", 187: "sky", 193: "grass"}
    annotation = data.write_json(
        tmp_path / "panoptic.json",
        {
            "images": [
                {"id": 142238, "file_name": "000000142238.jpg", "height": 427, "width": 640}
            ],
            "annotations": [
                {
                    "image_id": 142238,
                    "file_name": "000000142238.png",
                    "segments_info": [{"id": i, "category_id": c} for i, c in segments.items()],
                }
            ],
            "categories": [{"id": i, "name": name} for i, name in names.items()],
        },
    )
    real = shared_dir / "data" / "real" / "coco-panoptic"
    register_data(
        {
            "name": "mine",
            "format": "coco_panoptic",
            "images": str(real / "images"),
            "labels": str(real / "panoptic"),
            "annotation": str(annotation),
        }
    )
    label = label_maps()[0]
    areas = np.bincount(label[label >= 0], minlength=5)
    person = 3528 + 3751 + 2301 + 4076 + 2931 + 2969 + 3557 + 477 + 3968 + 153 + 3330 + 355 + 636
    assert areas.tolist() == [person + 24295, 175, 130762, 8204, 75100]


def test_void_carries_no_class(tmp_path):
    data.write_panoptic(tmp_path / "set", 1)
    file = tmp_path / "set" / "panoptic" / "00.png"
    colours = np.array(Image.open(file))
    colours[:3] = 0
    Image.fromarray(colours).save(file)
    register(tmp_path / "set", "coco_panoptic")
    assert (label_maps()[0][:3] == -1).all() and (label_maps()[0][3:] >= 0).all()


def save_png(array):
    return lambda root: Image.fromarray(array).save(root / "panoptic" / "00.png")


def edit_json(change):
    def edit(root):
        content = json.loads((root / "panoptic.json").read_text())
        change(content["annotations"])
        data.write_json(root / "panoptic.json", content)

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (save_png(np.zeros((24, 32), np.uint8)), "00.png: expected colours of 8 bits, got mode L"),
        (save_png(np.full((24, 32, 3), 7, np.uint8)), r"00.png: .*\(or 0\), got 460551"),
        (save_png(np.zeros((12, 32, 3), np.uint8)), "00.png: .*24 x 32, got 12 x 32"),
        (edit_json(lambda a: a[0].pop("segments_info")), "one list of 'segments_info' .*got none"),
        (edit_json(lambda a: a.append(a[0])), "'segments_info' per image, got a second one"),
        (edit_json(lambda a: a[0].update(segments_info=[1])), "list of objects at 'segments_info'"),
        (
            edit_json(lambda a: a[0]["segments_info"][0].pop("id")),
            "segments with an 'id' from 1 to 16777215, got None",
        ),
        (lambda root: (root / "panoptic" / "00.png").write_bytes(b""), "00.png: expected a comp"),
    ],
)
def test_a_faulty_panoptic_set_is_named(tmp_path, change, message):
    change(data.write_panoptic(tmp_path / "set", 1))
    with pytest.raises((ValueError, OSError), match=message):
        register(tmp_path / "set", "coco_panoptic")


def test_a_missing_panoptic_map_is_named(tmp_path):
    data.write_panoptic(tmp_path / "set")
    (tmp_path / "set" / "panoptic" / "02.png").unlink()
    with pytest.raises(FileNotFoundError, match="panoptic.*nothing for 02.png"):
        register(tmp_path / "set", "coco_panoptic")
    shutil.rmtree(tmp_path / "set" / "panoptic")
    with pytest.raises(FileNotFoundError, match="expected the folder of PNG .*set/panoptic"):
        register(tmp_path / "set", "coco_panoptic")
