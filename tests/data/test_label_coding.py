"""What the values and colours of label files mean."""

import json

import numpy as np
import pytest
from PIL import Image

from stseg.data import coding_of
from stseg.structures import Vocabulary
from tests.helpers.tiny_data import NAMES

WORDS = Vocabulary.from_names([NAMES[0], [NAMES[1], "street"], *NAMES[2:]])


def coding(names=None, **keys):
    return coding_of(WORDS, names, where="Data set m", **keys)


def saved(tmp_path, array, name="a.png", mode=None):
    image = Image.fromarray(np.asarray(array, dtype=np.uint8))
    if mode == "P":
        image = image.quantize(256)
    (image.convert(mode) if mode else image).save(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    "values", ["0:0, 255:street", {"0": 0, 255: "Road"}, [[0, "sky"], [255, 1]]]
)
def test_values_are_said_by_id_name_or_synonym(tmp_path, values):
    label = coding(values=values).read(saved(tmp_path, [[0, 255], [255, 0]]))
    assert label.tolist() == [[0, 1], [1, 0]] and label.dtype == np.int64


def test_a_value_without_a_meaning_is_named_with_its_share_and_the_cure(tmp_path):
    path = saved(tmp_path, [[0, 128], [255, 7]])
    with pytest.raises(ValueError, match=r"a.png: expected the values 0, 255 .*got 7, 128 in 50.0 %"
                       r".*Add 7:CLASS to values, or 7:ignore"):  # fmt: skip
        coding(values="0:0,255:1").read(path)
    label = coding(values="0:0,255:1,7:ignore", ignore=[128]).read(path, np.int16)
    assert label.tolist() == [[0, -1], [1, -1]] and label.dtype == np.int16


def test_255_carries_no_class_unless_the_values_say_otherwise(tmp_path):
    path = saved(tmp_path, [[0, 128, 255]])
    assert coding(values="0:0,128:1").read(path).tolist() == [[0, 1, -1]]
    assert coding(values="0:0,128:1,255:2").read(path).tolist() == [[0, 1, 2]]


def test_grey_that_was_saved_as_colours_is_grey_where_values_are_said(tmp_path):
    grey = np.array([[0, 255]])
    path = saved(tmp_path, np.repeat(grey[..., None], 3, axis=2))
    assert coding(values="0:0,255:1").read(path).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="mode RGB with the colours #ff0000 .*#000000"):
        coding(values="0:0,255:1").read(saved(tmp_path, [[[0, 0, 0], [255, 0, 0]]]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "# colours\n0 0 0\n255, 0, 0\n10 20 30\n"),
        ("c.txt", "0 0 0 sky\n255 0 0 : 1\n#0a141e\ttree\n"),
        ("c.csv", 'name,r,g,b\nsky,0,0,0\n"street",255,0,0\ntree,10,20,30\n'),
        ("c.json", '{"sky": [0, 0, 0], "255 0 0": "road", "#0A141E": 2}'),
        ("c.json", '[[[0, 0, 0], "sky"], ["#ff0000", 1], [[10, 20, 30], 2]]'),
    ],
)
def test_colours_may_stand_in_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    rgb = [[[0, 0, 0], [255, 0, 0], [10, 20, 30]]]
    read = coding(colours=str(tmp_path / name)).read
    assert read(saved(tmp_path, rgb)).tolist() == [[0, 1, 2]]
    assert read(saved(tmp_path, rgb, "p.png", "P")).tolist() == [[0, 1, 2]]
    assert read(saved(tmp_path, rgb, "rgba.png", "RGBA")).tolist() == [[0, 1, 2]]


def test_a_colour_without_a_meaning_is_named_as_it_is_written(tmp_path):
    path = saved(tmp_path, [[[0, 0, 0], [1, 2, 3]]])
    with pytest.raises(ValueError, match="colours #000000 .*got #010203 .*#010203:CLASS"):
        coding(colours="0 0 0:sky").read(path)
    assert coding(colours="0 0 0:sky", ignore="#010203").read(path).tolist() == [[0, -1]]


def test_colours_without_a_table_are_shown_with_the_key_to_give(tmp_path):
    path = saved(tmp_path, [[[9, 0, 0], [9, 0, 0], [9, 0, 0], [0, 0, 0]]])
    with pytest.raises(ValueError, match=r"#090000 \(75.0 %\), #000000 \(25.0 %\)") as caught:
        coding().read(path)
    assert "colours=#000000:0,#090000:1" in str(caught.value)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    with pytest.raises(ValueError, match="more than 256 colours, as photographs have"):
        coding().read(saved(tmp_path, noise))


def test_values_of_few_classes_are_suggested(tmp_path):
    with pytest.raises(ValueError, match="got 128, 200.*such as values=0:0,128:1,200:2"):
        coding().read(saved(tmp_path, [[0, 128, 200]]))


def test_ids_that_begin_with_1_are_recognised(tmp_path):
    with pytest.raises(ValueError, match="got 4.*reduce_zero_label=true where 0 carries no class"):
        coding().read(saved(tmp_path, [[0, 1, 4, 255]]))


def test_a_names_file_may_say_it_and_a_key_wins(tmp_path):
    file = tmp_path / "names.json"
    file.write_text(json.dumps({"classes": NAMES, "values": {"0": 0, "9": 1}, "ignore": 3}))
    path = saved(tmp_path, [[0, 9, 3]])
    assert coding(file).read(path).tolist() == [[0, 1, -1]]
    assert coding(file, values="0:2,9:3").read(path).tolist() == [[2, 3, -1]]
    assert coding(file, values="0:2,3:3").read(saved(tmp_path, [[0, 3]])).tolist() == [[2, 3]]
    black = saved(tmp_path, [[[0, 0, 0]]])
    file.write_text(json.dumps({"classes": NAMES, "ignore": 255}))
    assert coding(file, colours="#000000:3").read(black).tolist() == [[3]]
    (tmp_path / "table.txt").write_text("0 0 0 tree\n")
    file.write_text(json.dumps({"classes": NAMES, "colours": "table.txt"}))
    assert coding(file).read(black).tolist() == [[2]]
    assert coding(file, values="0:3").read(saved(tmp_path, [[0]])).tolist() == [[3]]
    file.write_text(json.dumps({"classes": NAMES, "reduce_zero_label": True}))
    assert coding(file).read(saved(tmp_path, [[0, 1, 4, 255]])).tolist() == [[-1, 0, 3, -1]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"values": "0:0,255"}, ", values: expected VALUE:CLASS"),
        ({"values": "0:0,0:1"}, "each value once, got '0' twice"),
        ({"values": "0:4"}, "ids 0 to 3 or names out of sky, road.*got '4'"),
        ({"values": "0:lamp"}, "got 'lamp'. Write ignore for what"),
        ({"values": "x:0"}, "whole numbers from 0 to 65535, got 'x'"),
        ({"values": "70000:0"}, "whole numbers from 0 to 65535, got '70000'"),
        ({"values": {}, "colours": "256 0 0:1"}, "colours such as #ff0000 or 255 0 0, got '256"),
        ({"colours": "red:1"}, "expected colours such as #ff0000"),
        ({"values": "0:0", "colours": "#000000:0"}, "expected one of .*got values and colours"),
        ({"values": "0:0", "reduce_zero_label": True}, "got reduce_zero_label and values"),
        ({"values": "0:0,7:1", "ignore": [7]}, "one meaning each, got 7 as a class and in ignore"),
    ],
)
def test_what_contradicts_itself_is_refused(keys, message):
    with pytest.raises(ValueError, match=f"Data set m.*{message}"):
        coding(**keys)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "0 0 0 sky\nred\n", "c.txt, line 2: expected R G B CLASS .*got 'red'"),
        ("c.json", "{", "expected JSON in .*c.json"),
        ("c.txt", "", "expected pairs .*got none"),
    ],
)
def test_a_faulty_table_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        coding(colours=str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="colours: expected a file, got nothing at .*gone"):
        coding(colours=str(tmp_path / "gone.txt"))


def test_a_coding_survives_a_file():
    for made in (coding(), coding(colours="#000000:0"), coding(reduce_zero_label=True)):
        assert type(made).of_json(json.loads(json.dumps(made.as_json()))) == made


@pytest.mark.parametrize("name", ["colours.txt", "colours.json"])
def test_a_table_in_another_encoding_is_told_which(tmp_path, name):
    file = tmp_path / name
    file.write_bytes("0 0 0 土\n255 0 0 猫\n".encode("gbk"))
    with pytest.raises(ValueError, match="expected text in UTF-8, got .* GBK"):
        coding(colours=str(file))
