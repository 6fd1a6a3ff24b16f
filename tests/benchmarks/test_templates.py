"""The benchmark of chosen templates draws its controls for the classes that have a choice."""

import numpy as np

from benchmarks.templates import rankings
from stseg.self_training import TemplateCounts


def test_controls_are_for_the_same_classes_and_the_least_sure_are_the_others():
    means, cells = np.array([[0.1, 0.2, 0.3, 0.4]] * 2), np.array([[100] * 4, [0] * 4])
    rows = rankings(TemplateCounts(means * cells, cells), [1, 2])
    assert rows["1, surest"] == [[0], []] and rows["1, least sure"] == [[3], []]
    assert rows["2, surest"] == [[0, 1], []] and rows["2, least sure"] == [[3, 2], []]
    (drawn, none), few = rows["2, at random"], rows["1, at random"]
    assert len(set(drawn)) == 2 and none == [] and few[0] == drawn[:1]
