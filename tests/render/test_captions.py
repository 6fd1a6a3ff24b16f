import numpy as np
import pytest

from stseg.render import class_colours, named_overlay, paint_labels
from stseg.render.captions import write_names

LABELS = np.zeros((240, 320), dtype=np.int32)
LABELS[:, 160:] = 1
LABELS[200:, :40] = -1
NAMES = ("cat", "traffic light")


def test_an_overlay_has_the_size_of_its_photograph_or_the_one_asked_for():
    photo = np.full((240, 320, 3), 90, dtype=np.uint8)
    assert named_overlay(photo, LABELS, NAMES).shape == (240, 320, 3)
    for size in ((120, 160), (480, 900), (1, 1), (7, 3)):
        for image in (photo, None):
            picture = named_overlay(image, LABELS, NAMES, size)
            assert picture.shape == (*size, 3) and picture.dtype == np.uint8
    with pytest.raises(ValueError, match=r"above 0, got \(0, 5\)"):
        named_overlay(photo, LABELS, NAMES, (0, 5))


def test_without_a_photograph_the_colours_are_pure():
    picture = named_overlay(None, LABELS, NAMES)
    assert (picture[5, [5, 300]] == class_colours(NAMES)).all()


def test_a_name_stands_within_the_largest_region_of_its_class():
    labels = LABELS.copy()
    labels[:30, 300:] = 0  # a small region of the first class in the second
    plain = paint_labels(None, labels, NAMES)
    changed = (write_names(plain, labels, NAMES) != plain).any(axis=2)
    for mask, written in ((labels == 0, True), (labels == 1, True), (labels == -1, False)):
        assert (changed & mask).any() == written  # "unknown" has no room
    assert not changed[:30, 300:].any()
    rows, columns = np.nonzero(changed & (labels == 0))
    assert rows.max() < 239 and 0 < columns.min() < columns.max() < 159


def test_what_has_no_room_for_a_name_gets_none():
    stripes = np.arange(64 * 64).reshape(64, 64) % 64 // 4 % 2
    plain = paint_labels(None, stripes, NAMES)
    assert np.array_equal(write_names(plain, stripes, NAMES), plain)


def test_a_region_of_no_class_is_called_unknown():
    labels = np.full((100, 200), -1)
    plain = paint_labels(None, labels, NAMES)
    assert (write_names(plain, labels, NAMES) != plain).any()


@pytest.mark.parametrize("scale", [1, 7])
def test_in_a_narrow_region_no_letter_goes_over_the_edge(scale):
    written = 0
    for height in range(10, 40, 2):
        labels = np.zeros((60 * scale, 100 * scale), dtype=np.int32)
        labels[10 * scale : (10 + height) * scale, 20 * scale : 80 * scale] = 1
        plain = paint_labels(None, labels, ("", "gypsy"))
        changed = (write_names(plain, labels, ("", "gypsy")) != plain).any(axis=2)
        assert not changed[labels == 0].any()
        written += changed.any()
    assert written > 5
