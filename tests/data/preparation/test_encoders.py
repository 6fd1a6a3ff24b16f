"""What becomes of ids, and which are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

import stseg.data.datasets as datasets
from stseg.data.preparation import encoders

VOCAB = Path(datasets.__file__).parent / "vocab"


@pytest.mark.parametrize(
    "table",
    ["coco_stuff_ids", "ade20k_847_ids", "pascal_context_59_ids"],
)
def test_an_id_table_has_one_id_per_class_and_names_its_source(table):
    content = json.loads((VOCAB / f"{table}.json").read_text())
    classes = json.loads((VOCAB / f"{content['classes_from']}.json").read_text())["classes"]
    assert len(content["ids"]) == len(set(content["ids"])) == len(classes)
    assert content["source"]


def test_the_unseen_classes_are_those_of_the_literature():
    stuff = json.loads((VOCAB / "coco_stuff_171.json").read_text())["classes"]
    novel = {stuff[k] for k in encoders.id_table("coco_stuff_ids", "novel")}
    assert novel == {
        *("cow", "giraffe", "suitcase", "frisbee", "skateboard", "carrot", "scissors"),
        *("cardboard", "clouds", "grass", "playingfield", "river", "road", "tree"),
        "wall-concrete",
    }
    objects = json.loads((VOCAB / "voc_20.json").read_text())["classes"]
    unseen = [objects[k] for k in encoders.VOC_NOVEL]
    assert unseen == ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]


@pytest.mark.parametrize(
    ("encode", "last", "first_wrong"),
    [
        (encoders.coco_stuff, 181, 182),  # 182: ids not shifted by one
        (encoders.ade20k_150, 150, 151),
        (encoders.pascal_context_59, 459, 460),
        (encoders.pascal_context_459, 459, 460),
        (encoders.voc_20, 20, 21),
        (encoders.voc_20b, 20, 21),
        (encoders.voc_21, 20, 21),
        (encoders.cityscapes_19, 33, 34),
    ],
)
def test_an_id_of_another_variant_is_refused(encode, last, first_wrong):
    encode(np.array([[last]]))
    with pytest.raises(ValueError, match=f"got {first_wrong}"):
        encode(np.array([[0, first_wrong]]))
    with pytest.raises(ValueError, match="got -1"):
        encode(np.array([[0, -1]]))


def test_prepared_maps_given_as_raw_ones_are_refused_where_they_can_be_told():
    with pytest.raises(ValueError, match="got 255"):
        encoders.ade20k_150(np.array([[0, 255]]))
    with pytest.raises(ValueError, match="got 65535"):
        encoders.pascal_context_459(np.array([[0, 65535]]))


def test_an_unannotated_pixel_of_pascal_context_459_is_ignored_and_no_class_is_lost():
    prepared = encoders.pascal_context_459(np.arange(460)[None])
    assert prepared.dtype == np.uint16
    assert prepared[0, 0] == 65535
    np.testing.assert_array_equal(prepared[0, 1:], np.arange(459))


def test_grey_labels_are_no_labels_of_full_ade20k():
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        encoders.ade20k_847(np.zeros((2, 2), np.uint8))


def test_every_class_of_full_ade20k_is_reached_whatever_the_instance():
    places = np.array(encoders.id_table("ade20k_847_ids"))
    for low, blue in ((0, 0), (9, 77)):
        rgb = np.stack([places // 256 * 10 + low, places % 256, 0 * places + blue], -1)
        prepared = encoders.ade20k_847(rgb[None].astype(np.uint8))
        np.testing.assert_array_equal(prepared[0], np.arange(847))
