import json

import pytest

from stseg.config import setup_cfg
from stseg.data.datasets import dataset_vocabulary
from stseg.self_training.seen import mark_seen, matched_names, seen_record, seen_table
from stseg.self_training.target import target_vocabulary
from stseg.structures import Vocabulary
from tests.engine.test_setup import CONFIGS

TARGET = Vocabulary.from_names(["Car", "kerb, curb", "traffic  light", "wind turbine"])
SOURCE = Vocabulary.from_names(["automobile, car", "curb", "traffic light", "sky"])


def test_classes_are_matched_by_name_and_synonym():
    assert mark_seen(TARGET, SOURCE).seen == (True, True, True, False)


def test_without_a_source_every_class_counts_as_unseen_unless_marked():
    assert mark_seen(TARGET, None).seen == (False,) * 4
    marked = TARGET.with_seen("car")
    assert mark_seen(marked, None).seen == (True, False, False, False)


def test_the_table_tells_match_rule_and_weight():
    lines = seen_table(seen_record(mark_seen(TARGET, SOURCE), 0.3, SOURCE)).splitlines()
    assert lines[2].split() == ["Car", "seen", "automobile", "synonym", "0.3"]
    assert lines[3].split() == ["kerb", "seen", "curb", "synonym", "0.3"]
    assert lines[5].split() == ["wind", "turbine", "unseen", "0.7"]
    assert lines[-1] == "3 seen, 1 unseen"


def test_the_table_works_without_marks_and_source():
    assert seen_table(seen_record(TARGET, 0.3)).count("unseen") == 5


def test_a_run_can_keep_what_was_decided():
    record = json.loads(json.dumps(seen_record(mark_seen(TARGET, SOURCE), 0.25, SOURCE)))
    assert (record["seen"], record["unseen"]) == (3, 1)
    assert record["classes"][2] == {
        "name": "traffic light", "seen": True, "as": "traffic light", "by": "same names",
        "weight": 0.25,
    }  # fmt: skip
    assert record["classes"][3]["weight"] == 0.75 and record["classes"][3]["as"] == ""


def test_a_target_of_seen_classes_alone_is_no_mistake():
    known = mark_seen(Vocabulary.from_names(["car", "sky"]), SOURCE)
    assert known.seen == (True, True)
    assert seen_table(seen_record(known, 0.3, SOURCE)).endswith("2 seen, 0 unseen")


# What COCO-Stuff has masks of under another name, and what it has not.
SEEN = {
    "adapt_ade20k_150": ("wall building sky floor ceiling windowpane earth sidewalk door water "
                         "sofa mirror desk house light airplane").split(),
    "adapt_context_59": ("wall building sky floor ceiling window ground sidewalk road light wood "
                         "aeroplane sofa tvmonitor diningtable pottedplant motorbike").split(),
    "adapt_voc": "aeroplane sofa tvmonitor diningtable pottedplant motorbike".split(),
    "adapt_context_459": "wall sky fridge cellphone firehydrant signallight plant".split(),
    "adapt_ade20k_847": "wall building sky floor earth fireplug sidewalk".split(),
}  # fmt: skip
UNSEEN = {
    "adapt_ade20k_150": "painting lamp bathtub plate pot runway fan flag hovel".split(),
    "adapt_context_59": "computer plate sign".split(),
    "adapt_voc": [],
    "adapt_context_459": "plate accordion dolphin shed".split(),
    "adapt_ade20k_847": "andiron newspaper buffet mobile plate shanty".split(),
}
COUNTS = {  # unseen by exact name, and now
    "adapt_ade20k_150": (103, 76),
    "adapt_context_59": (24, 3),
    "adapt_voc": (6, 0),
    "adapt_context_459": (388, 353),
    "adapt_ade20k_847": (752, 718),
}


@pytest.mark.parametrize("stem", SEEN)
def test_the_recipes_know_what_coco_stuff_calls_by_another_name(stem):
    cfg = setup_cfg(next(path for path in CONFIGS if path.stem == stem), device="cpu")
    marked = target_vocabulary(cfg)
    seen = dict(zip(marked.names, marked.seen, strict=True))
    assert [name for name in SEEN[stem] if not seen[name]] == []
    assert [name for name in UNSEEN[stem] if seen[name]] == []
    source = dataset_vocabulary(cfg.SELF_TRAINING.SOURCE_VOCABULARY)
    exact = marked.with_seen(source).seen
    assert (exact.count(False), marked.seen.count(False)) == COUNTS[stem]
    named = matched_names(marked, source)
    assert [bool(name) for name in named] == list(marked.seen)
