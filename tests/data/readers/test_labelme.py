import base64
import io
import shutil

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from tests.helpers import annotated_data as data
from tests.helpers.annotated_data import label_maps, register

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def one_labelme(tmp_path, *shapes, **more):
    data.write_images(tmp_path / "set", 1)
    content = data.labelme_json(0) | {"shapes": list(shapes)} | more
    return data.write_json(tmp_path / "set" / "00.json", content)


def test_later_shapes_lie_on_top_and_bare_pixels_carry_no_class(tmp_path):
    square = [[2, 2], [10, 2], [10, 10], [2, 10]]
    one_labelme(
        tmp_path,
        data.shape("a", square),
        data.shape("b", [[6, 6], [6, 9]], "circle"),
        data.shape("__ignore__", [[9, 9], [8, 8]], "rectangle"),  # corners in any order
    )
    register(tmp_path / "set", "labelme")
    label = label_maps()[0]
    assert MetadataCatalog.get("mine").stuff_classes == ["a", "b"]
    at = {(2, 2): 0, (6, 6): 1, (9, 6): 1, (3, 6): 1, (8, 9): -1, (9, 9): -1, (20, 20): -1}
    assert {place: label[place] for place in at} == at


def test_bare_pixels_may_be_a_class(tmp_path):
    one_labelme(tmp_path, data.shape("a", data.block(0), "rectangle"))
    register(tmp_path / "set", "labelme", background="ground")
    assert MetadataCatalog.get("mine").stuff_classes == ["a", "ground"]
    assert (label_maps()[0] == data.truth(0)).all()


def test_labels_that_differ_in_case_or_blanks_are_one_class(tmp_path):
    square = [[15, 15], [20, 20]]
    one_labelme(
        tmp_path,
        data.shape("Car", data.block(0), "rectangle"),
        data.shape(" car", square, "rectangle"),
        data.shape("sky", square, "rectangle"),
    )
    register(tmp_path / "set", "labelme", ignore=["SKY"], background="ground")
    assert MetadataCatalog.get("mine").stuff_classes == ["car", "ground"]
    assert label_maps()[0][5, 5] == 0 and label_maps()[0][16, 16] == -1


def test_mask_shapes_are_pasted(tmp_path):
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 2:] = 1
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    one_labelme(tmp_path, data.shape("a", [[5, 6], [8, 8]], "mask", mask=text))
    register(tmp_path / "set", "labelme")
    expected = np.full((24, 32), -1)
    expected[7:9, 7:9] = 0
    assert (label_maps()[0] == expected).all()


def test_lines_and_points_are_left_out_and_told(tmp_path):
    one_labelme(
        tmp_path,
        data.shape("a", data.block(0), "rectangle"),
        data.shape("b", [[1, 1], [3, 3]], "line"),
        data.shape("c", [[1, 1]], "point"),
    )
    assert "2 lines and points cover no area" in register(tmp_path / "set", "labelme")
    assert MetadataCatalog.get("mine").stuff_classes == ["a"]


def test_images_and_json_may_lie_apart_and_paths_may_be_those_of_windows(tmp_path):
    data.write_images(tmp_path / "set" / "images", 2)
    for number, place in enumerate((r"..\pictures\00.png", "D:/gone/renamed.png")):
        content = data.labelme_json(number) | {"imagePath": place}
        data.write_json(tmp_path / "set" / "labels" / f"{number:02d}.json", content)
    register(tmp_path / "set", "labelme")
    assert all((label == data.truth(i)).all() for i, label in enumerate(label_maps()))


def test_the_list_of_labels_that_labelme_writes_serves_as_names(tmp_path):
    one_labelme(tmp_path, data.shape("bright", data.block(0), "rectangle"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nbright\n")
    names = str(tmp_path / "labels.txt")
    register(tmp_path / "set", "labelme", names=names, background="_background_")
    assert MetadataCatalog.get("mine").stuff_classes == ["_background_", "bright"]
    assert (label_maps()[0] == 1 - data.truth(0)).all()


def turned(path):
    """Save an image so that viewers turn it by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def test_shapes_lie_on_the_image_as_people_see_it(tmp_path):
    data.write_labelme(tmp_path / "set", 1)
    turned(tmp_path / "set" / "00.png")
    register(tmp_path / "set", "labelme")
    assert label_maps()[0].shape == (data.HEIGHT, data.WIDTH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": [data.shape("a", [[1, 1], [2, float("nan")], [3, 3]])]}, "finite numbers"),
        ({"shapes": [data.shape("a", "here")]}, r"expected points \[x, y\], got here"),
        ({"shapes": [data.shape("a", None)]}, r"expected points \[x, y\], got None"),
        ({"shapes": [data.shape("", data.block(0))]}, "shape 1: expected a label"),
        ({"shapes": ["a"]}, "shape 1: expected a label"),
        ({"shapes": {}}, "expected a list of shapes"),
        ({"shapes": [data.shape("a", data.block(0), "mask")]}, "expected a PNG as base64"),
        ({"shapes": []}, "expected at least one label, got none"),
        ({"imageHeight": 25}, r"expected the size of its image .*00.png, 24 x 32, got 25 x 32"),
    ],
)
def test_a_faulty_labelme_file_is_named(tmp_path, change, message):
    one_labelme(tmp_path, data.shape("a", data.block(0), "rectangle"), **change)
    with pytest.raises(ValueError, match=message) as caught:
        register(tmp_path / "set", "labelme")
    assert "00.json" in str(caught.value) or "mine" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "00.json: expected JSON, got text that is not"),
        ("\xff\xfe", "00.json: expected text in UTF-8, got .* looks like UTF-16. Save it anew"),
        ("[]", "expected a labelme file with shapes, imagePath, got no object"),
        ('{"images": []}', "got keys images. Export it in this format"),
    ],
)
def test_a_file_that_is_not_labelme_is_named(tmp_path, text, message):
    data.write_labelme(tmp_path / "set", 2)
    (tmp_path / "set" / "00.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        register(tmp_path / "set", "labelme")


def test_a_missing_image_is_named_with_its_annotation(tmp_path):
    data.write_labelme(tmp_path / "set")
    (tmp_path / "set" / "01.png").unlink()
    with pytest.raises(FileNotFoundError, match="got nothing for 01.png of 01.json. Add them"):
        register(tmp_path / "set", "labelme")


def test_two_annotations_of_one_image_are_refused(tmp_path):
    data.write_labelme(tmp_path / "set", 1)
    shutil.copy(tmp_path / "set" / "00.json", tmp_path / "set" / "copy.json")
    with pytest.raises(ValueError, match="one annotation per image name.*copy.json for 00"):
        register(tmp_path / "set", "labelme")


def test_a_folder_without_json_is_named(tmp_path):
    data.write_images(tmp_path / "set", 1)
    with pytest.raises(ValueError, match="expected labelme JSON in .*set, got none"):
        register(tmp_path / "set", "labelme")
