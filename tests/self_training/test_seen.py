import pytest

from stseg.self_training.seen import check_unseen, mark_seen, seen_table
from stseg.structures import Vocabulary

TARGET = Vocabulary.from_names(["Car", "kerb, curb", "traffic  light", "wind turbine"])
SOURCE = Vocabulary.from_names(["automobile, car", "curb", "traffic light", "sky"])


def test_classes_are_matched_by_name_and_synonym():
    assert mark_seen(TARGET, SOURCE).seen == (True, True, True, False)


def test_without_a_source_every_class_counts_as_unseen_unless_marked():
    assert mark_seen(TARGET, "").seen == mark_seen(TARGET, None).seen == (False,) * 4
    marked = TARGET.with_seen("car")
    assert mark_seen(marked, None).seen == (True, False, False, False)


def test_the_table_tells_match_and_weight():
    lines = seen_table(mark_seen(TARGET, SOURCE), 0.3, SOURCE).splitlines()
    assert lines[2].split() == ["Car", "seen", "automobile", "0.3"]
    assert lines[3].split() == ["kerb", "seen", "curb", "0.3"]
    assert lines[5].split() == ["wind", "turbine", "unseen", "0.7"]
    assert lines[-1] == "3 seen, 1 unseen"


def test_the_table_works_without_marks_and_source():
    assert seen_table(TARGET, 0.3).count("unseen") == 5


def test_a_target_with_nothing_unseen_is_refused_with_the_cures():
    marked = mark_seen(Vocabulary.from_names(["car", "sky"]), SOURCE)
    with pytest.raises(ValueError) as caught:
        check_unseen(marked, 0.3)
    for cure in ("new names", "SELF_TRAINING.ALPHA 0.5", "clear SELF_TRAINING.SOURCE_VOCABULARY"):
        assert cure in str(caught.value)
    check_unseen(marked, 0.5)
    check_unseen(mark_seen(TARGET, SOURCE), 0.3)
    check_unseen(mark_seen(TARGET, ""), 0.3)
