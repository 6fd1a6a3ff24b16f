import numpy as np
import pytest

from stseg.structures import Segmentation
from stseg.tools.prediction import SteadyLabels, flicker_share


def steadied(hold, series, confidence=0.8):
    """The labels of one pixel over frames."""
    steady, found = SteadyLabels(hold), []
    for label in series:
        shape = (1, 1)
        frame = Segmentation(np.full(shape, label), np.full(shape, confidence), ("a", "b"))
        found.append(int(steady.next(frame).label_map[0, 0]))
    return found


def test_a_label_of_one_frame_is_passed_over_and_a_lasting_one_is_taken():
    assert steadied(0.7, [0, 0, 1, 0, 0, 1, 1, 1]) == [0, 0, 0, 0, 0, 0, 1, 1]
    assert steadied(0.0, [0, 1, 0, -1]) == [0, 1, 0, -1]


@pytest.mark.parametrize(("hold", "frames"), [(0.7, 2), (0.8, 4), (0.9, 7)])
def test_it_takes_as_many_frames_as_is_said(hold, frames):
    found = steadied(hold, [0] * 5 + [1] * 12)
    assert found.index(1) == 5 + frames - 1


def test_a_sure_frame_outweighs_unsure_ones():
    steady, names = SteadyLabels(0.7), ("a", "b")
    for label, sure in ((0, 0.1), (1, 0.9)):
        last = steady.next(Segmentation(np.full((1, 1), label), np.full((1, 1), sure), names))
    assert last.label_map[0, 0] == 1 and last.confidence[0, 0] == pytest.approx(0.9)


def test_frames_of_another_size_begin_anew_and_wrong_numbers_are_refused():
    steady = SteadyLabels(0.9)
    for side in (2, 3):
        frame = Segmentation(np.zeros((side, side)), np.ones((side, side)), ("a",))
        assert steady.next(frame).label_map.shape == (side, side)
    with pytest.raises(ValueError, match="--steady: expected"):
        SteadyLabels(1.0)


def test_flicker_is_leaving_a_label_for_one_frame():
    labels = np.array([[0, 0], [1, 1], [0, 1]])[:, None]
    assert flicker_share(labels) == 0.5
