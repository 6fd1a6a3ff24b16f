import numpy as np
import pytest

from stseg.self_training.label_changes import count_changes
from stseg.self_training.pseudo_label import PseudoLabel

from .test_store import make_store


def test_change_is_counted_where_both_rounds_have_a_label(tmp_path):
    maps = [[[0, 0, 1, -1], [0, 1, 1, 2]], [[0, 1, -1, 2], [0, 1, 1, 1]]]
    stores = [make_store(tmp_path, count=2, round_number=n).open() for n in (1, 2)]
    for store, rows in zip(stores, maps, strict=True):
        for index, row in enumerate(rows):
            labels = np.array([row], dtype=np.int32)
            store.write(index, PseudoLabel(labels, labels, ()))
    assert count_changes(*stores) == (6, 2)
    assert [count_changes(*stores, rank, 2) for rank in (0, 1)] == [(2, 1), (4, 1)]


def test_change_without_common_labels_is_unknown(tmp_path):
    stores = [make_store(tmp_path, count=1, round_number=n).open() for n in (1, 2)]
    for store, value in zip(stores, (0, -1), strict=True):
        labels = np.full((2, 2), value, dtype=np.int32)
        store.write(0, PseudoLabel(labels, labels, ()))
    assert count_changes(*stores) == (0, 0)
    next((stores[0].folder / "labels").iterdir()).unlink()
    assert count_changes(*stores) is None


def test_change_between_other_images_or_classes_is_refused(tmp_path):
    store = make_store(tmp_path)
    with pytest.raises(ValueError, match="same images"):
        count_changes(store, make_store(tmp_path, count=3))
    with pytest.raises(ValueError, match="same classes"):
        count_changes(store, make_store(tmp_path, names=("a", "b", "c")))
