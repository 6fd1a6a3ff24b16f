"""Regions as the page outlines them, and as the veto file gives them back."""

import cv2
import numpy as np
import pytest

from stseg.data import read_label
from stseg.self_training.corrections import fill_outline, read_outline
from stseg.self_training.page_regions import find_regions_of


def overlaps(label_map):
    """(region, IoU of what its line gives with the part that it was made of)."""
    for region in find_regions_of(label_map):
        given = np.zeros(label_map.shape, dtype=np.uint8)
        fill_outline(given, read_outline(region.outline), 1)
        same = (label_map == region.class_id).astype(np.uint8)
        parts = cv2.connectedComponents(same, connectivity=4)[1]
        numbers = parts[(given > 0) & (parts > 0)]
        part = parts == np.bincount(numbers).argmax()
        yield region, (part & (given > 0)).sum() / (part | (given > 0)).sum()


def drawn(height, width):
    """A disc with a hole in it, a slanted bar, a square, and no label around them."""
    label_map = np.full((height, width), -1, dtype=np.int32)
    unit = height // 10
    cv2.circle(label_map, (3 * unit, 4 * unit), 2 * unit, 0, -1)
    cv2.circle(label_map, (3 * unit, 4 * unit), unit, 1, -1)
    cv2.line(label_map, (6 * unit, unit), (9 * unit, 8 * unit), 2, unit)
    label_map[8 * unit :, : 2 * unit] = 0
    return label_map


@pytest.mark.parametrize("size", [(120, 160), (480, 640), (1500, 2000)])
def test_a_drawn_region_comes_back_as_it_was(size):
    found = list(overlaps(drawn(*size)))
    assert [region.class_id for region, _ in found] == [-1, 0, 2, 0, 1]
    assert min(iou for _, iou in found) > 0.95
    assert max(len(region.outline) for region, _ in found) < 2500


def test_the_regions_of_a_photograph_come_back(shared_dir):
    folder = shared_dir / "data/prepared/coco-stuff/annotations_detectron2/train2017"
    label_map = read_label(folder / "000000426773.png", 171, (255,)).astype(np.int32)
    found = list(overlaps(label_map))
    assert len(found) > 20 and min(iou for _, iou in found) > 0.95


def test_noise_is_no_region_and_blots_have_short_outlines():
    noise = np.random.default_rng(0).random((480, 640))
    specks = find_regions_of((noise > 0.3).astype(np.int32))
    assert all(region.pixels < 1000 for region in specks)  # not all that hangs together by chance
    blots = find_regions_of((cv2.GaussianBlur(noise, (0, 0), 2) > 0.5).astype(np.int32))
    assert 0 < len(blots) <= 100
    assert sum(len(region.outline) for region in blots) < 150_000


def test_a_map_of_one_class_is_one_rectangle():
    (region,) = find_regions_of(np.zeros((30, 50), dtype=np.int32))
    assert set(region.outline.split()) == {"0,0", "50,0", "50,30", "0,30"}


def test_what_is_too_small_to_point_at_is_left_out():
    label_map = np.zeros((200, 200), dtype=np.int32)
    label_map[5:7, 5:7] = 1
    label_map[50:90, 50] = 2
    label_map[100:110, 100:110] = 3
    assert [region.class_id for region in find_regions_of(label_map)] == [0, 3, 2]
