import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest

from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.results import (
    Protocol,
    comparable,
    field_of,
    make_protocol,
    make_provenance,
    read_result,
    read_results,
    write_result,
    write_results,
)
from stseg.evaluation.scoring import Score, Settings, summarise
from stseg.structures import Vocabulary

NAMES = ("wall", "sky", "cat")


def matrix_of(label, prediction):
    matrix = ConfusionMatrix(len(NAMES))
    matrix.update(np.array(prediction), np.array(label), 255)
    return matrix


def protocol(**changes):
    arguments = {
        "matrix": matrix_of([0, 1, 1, 255], [0, 1, 0, 0]),
        "names": NAMES,
        "images": ["a", "b"],
        "ignore": [255],
    }
    arguments.update(changes)
    return make_protocol(arguments.pop("matrix"), **arguments)


def result(**changes):
    score = Score.empty(Settings(len(NAMES)))
    score.add("a", matrix_of([0, 1, 1, 255], [0, 1, 0, 2]))
    score.add("b", matrix_of([255, 255], [0, 0]))
    made = summarise(score, Vocabulary.parse(NAMES), provenance=make_provenance(gt="labels"))
    return dataclasses.replace(made, **changes)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "a.json"
    written = result()
    write_result(path, written)
    read = read_result(path)
    # NaN does not equal itself; its text does.
    assert repr(read) == repr(written)
    assert read.protocol == written.protocol
    assert math.isnan(read.classes[2]["iou"]) and math.isnan(read.images[1]["pACC"])
    text = path.read_text(encoding="ascii")
    assert "NaN" not in text
    content = json.loads(text)
    assert (content["format"], content["schema_version"]) == ("stseg.evaluation", 2)
    (content,) = content["results"].values()
    assert set(content["provenance"]["versions"]) == {"python", "stseg", "numpy", "pillow"}
    assert content["provenance"]["gt"].endswith("/labels")
    assert content["provenance"]["command"] and content["provenance"]["created"]


def test_a_file_of_several_data_sets_is_read_by_name(tmp_path):
    path, written = tmp_path / "a.json", {"one": result(), "two": result(images=[])}
    write_results(path, written, {"one": {"panoptic": {"PQ": math.nan}}})
    assert repr(read_results(path)) == repr(written)
    assert read_result(path, "two").images == []
    assert json.loads(path.read_text())["others"] == {"one": {"panoptic": {"PQ": None}}}
    for name in (None, "three"):
        with pytest.raises(ValueError, match=r"a.json: expected one of .*\(one, two\), got"):
            read_result(path, name)


def test_a_file_of_the_first_schema_is_still_read(tmp_path):
    path = tmp_path / "a.json"
    write_result(path, result())
    content = json.loads(path.read_text())
    (part,) = content["results"].values()
    path.write_text(json.dumps({"format": content["format"], "schema_version": 1, **part}))
    assert repr(read_result(path)) == repr(result())


def test_names_of_any_bytes_can_be_written(tmp_path):
    odd = b"caf\xe9".decode("utf-8", errors="surrogateescape")
    write_result(tmp_path / "a.json", result(images=[{"name": odd, "mIoU_gt": 1.0, "pACC": 1.0}]))
    assert read_result(tmp_path / "a.json").images[0]["name"] == odd
    assert protocol(images=[odd]).image_list != protocol(images=["caf"]).image_list


def test_the_order_of_images_does_not_matter_and_that_of_names_does():
    assert protocol() == protocol(images=["b", "a"])
    assert protocol().vocabulary != protocol(names=NAMES[::-1]).vocabulary


def test_the_prediction_is_no_part_of_the_protocol_and_the_label_is():
    assert protocol() == protocol(matrix=matrix_of([0, 1, 1], [2, 2, 2]))
    assert protocol() != protocol(matrix=matrix_of([0, 1, 0], [0, 1, 0]))


def test_the_hash_of_the_image_list_is_that_of_its_sorted_json():
    expected = hashlib.sha256(b'["a", "b"]').hexdigest()
    assert protocol(images=["b", "a"]).image_list == expected


def test_weights_are_hashed(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights" * 500_000)
    expected = hashlib.sha256(b"weights" * 500_000).hexdigest()
    assert make_provenance(weights=tmp_path / "w.pth")["weights"] == expected
    assert make_provenance(command=["a", "b c"])["command"] == "a 'b c'"


CHANGES = {
    "num_images": 3,
    "image_list": "0",
    "truth": "0",
    "num_classes": 4,
    "vocabulary": "0",
    "ignore": (0,),
    "fold_background": True,
    "data_set": "other",
    "seen": "0",
    "interest": "0",
}


def test_every_field_of_the_protocol_is_tried():
    assert set(CHANGES) == {f.name for f in dataclasses.fields(Protocol)}


@pytest.mark.parametrize("field", CHANGES)
def test_a_field_that_differs_is_named(field):
    stated = dataclasses.replace(protocol(), data_set="toy", seen="1", interest="1")
    changed = dataclasses.replace(stated, **{field: CHANGES[field]})
    a, b = result(protocol=stated), result(protocol=changed)
    assert comparable(a, b) == [field]
    assert field_of(b, field) == CHANGES[field]
    assert comparable(a, a) == []


@pytest.mark.parametrize("field", ["data_set", "seen", "interest"])
def test_what_only_one_of_two_results_states_forbids_nothing(field):
    stated = result(protocol=dataclasses.replace(protocol(), **{field: "1"}))
    silent = result(protocol=protocol())
    assert comparable(stated, silent) == comparable(silent, stated) == []


def test_another_definition_of_a_shared_figure_is_named():
    other = result(definitions=dict(result().definitions, mIoU_gt="something else", extra="x"))
    assert comparable(result(), other) == ["definitions.mIoU_gt"]
    assert field_of(other, "definitions.mIoU_gt") == "something else"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "expected a result file"),
        ("[]", '"format": "stseg.evaluation", got another'),
        ('{"mIoU": 1}', "score --output"),
        ('{"format": "stseg.evaluation", "schema_version": 3}', "schema version 2, got 3"),
        ('{"format": "stseg.evaluation", "schema_version": 2}', "complete result file"),
        ('{"format": "stseg.evaluation", "schema_version": 1}', "complete result file"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path, content, said):
    path = tmp_path / "odd.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="odd.json: .*" + said):
        read_result(path)


@pytest.mark.parametrize("what", ["names", "seen", "interest"])
def test_marks_of_another_number_are_refused(what):
    with pytest.raises(ValueError, match=f"{what}: expected 3, got 2"):
        protocol(**{what: [True, False]})
