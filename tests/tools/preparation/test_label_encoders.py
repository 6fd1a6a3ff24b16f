"""What becomes of ids, and which are refused."""

import json

import numpy as np
import pytest

from stseg.data.datasets.class_lists import VOCAB_DIR as VOCAB
from stseg.data.datasets.class_lists import load_class_list, load_id_table, load_unseen
from stseg.tools.preparation import label_encoders as encoders


@pytest.mark.parametrize("table", ["coco_stuff_ids", "ade20k_847_ids", "cityscapes_19_ids"])
def test_an_id_table_has_one_id_per_class_and_names_its_source(table):
    content = json.loads((VOCAB / "tables" / f"{table}.json").read_text())
    classes = json.loads((VOCAB / f"{content['classes_from']}.json").read_text())["classes"]
    assert len(content["ids"]) == len(set(content["ids"])) == len(classes)
    assert content["source"]


def test_base_maps_lack_the_unseen_classes_and_nothing_else():
    raw = np.array([load_id_table("coco_stuff_ids")])
    base, unseen = encoders.coco_stuff_base(raw)[0], set(load_unseen("coco_stuff_156_15"))
    assert set(np.flatnonzero(base == 255)) == unseen and len(unseen) == 15
    assert all(base[k] == k for k in set(range(171)) - unseen)
    base, unseen = encoders.voc_20_base(np.arange(1, 21)[None])[0], load_unseen("voc_15_5")
    assert [k for k in range(20) if base[k] == 255] == sorted(unseen) == [15, 16, 17, 18, 19]
    unseen = load_unseen("pascal_context_49_10")
    raw = np.arange(1, 460)[None]
    whole, base = encoders.pascal_context_59(raw)[0], encoders.pascal_context_59_base(raw)[0]
    assert set(whole[whole != base]) == unseen and set(base[whole != base]) == {255}
    places = np.array(load_id_table("ade20k_847_ids"))
    rgb = np.stack([places // 256 * 10, places % 256, 0 * places], -1)[None].astype(np.uint8)
    base, unseen = encoders.ade20k_847_base(rgb)[0], load_unseen("ade20k_847_572_275")
    assert base.dtype == np.uint16 and set(np.flatnonzero(base == 65535)) == unseen
    assert all(base[k] == k for k in set(range(847)) - unseen)


def test_the_59_are_taken_by_name_from_the_459():
    prepared = encoders.pascal_context_59(np.arange(1, 460)[None])[0]
    names, all_names = load_class_list("pascal_context_59"), load_class_list("pascal_context_459")
    found = {all_names[i]: names[k] for i, k in enumerate(prepared) if k != 255}
    assert len(found) == 59
    assert {a: b for a, b in found.items() if a != b} == {"table": "diningtable"}


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
    places = np.array(load_id_table("ade20k_847_ids"))
    for low, blue in ((0, 0), (9, 77)):
        rgb = np.stack([places // 256 * 10 + low, places % 256, 0 * places + blue], -1)
        prepared = encoders.ade20k_847(rgb[None].astype(np.uint8))
        np.testing.assert_array_equal(prepared[0], np.arange(847))
