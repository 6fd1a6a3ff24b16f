import random

import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image

from stseg.data.augmentation import (
    ExactResizeShortestEdge,
    ExactResizeTransform,
    PadToSize,
    QuickColorAugSSDTransform,
    RandomBlur,
    RandomNoise,
    build_augmentations,
    geometric_part,
)
from stseg.data.sampling import seeded
from stseg.structures import IGNORE_LABEL


def _apply(augmentations, image, label):
    inputs = T.AugInput(image, sem_seg=label)
    T.AugmentationList(augmentations)(inputs)
    return inputs.image, inputs.sem_seg


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("edge", [10, 20, 57, 80])
def test_resized_labels_stay_exact_and_aligned_with_the_image(dtype, edge):
    label = np.zeros((40, 60), dtype=dtype)
    label[:, 30:] = 100
    image = np.repeat(label.astype(np.uint8)[..., None] * 2, 3, axis=2)
    image, resized = _apply([ExactResizeShortestEdge([edge, edge])], image, label)
    assert resized.dtype == dtype and resized.shape == image.shape[:2]
    assert set(np.unique(resized)) == {0, 100}
    disagreeing = ((image[..., 0] >= 100) != (resized == 100)).any(axis=0).sum()
    assert disagreeing == 0 if edge != 57 else disagreeing <= 1


def test_negative_and_sixteen_bit_ids_survive_resizing():
    label = np.array([[-1, 846], [458, 65534]], dtype=np.int64)
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    _, resized = _apply([ExactResizeShortestEdge([4, 4])], image, label)
    assert resized.tolist() == np.kron(label, np.ones((2, 2), dtype=int)).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_labels_are_resized_as_pillow_would(dtype):
    rng = np.random.default_rng(0)
    for _ in range(30):
        height, width, new_height, new_width = rng.integers(5, 90, 4)
        label = rng.integers(0, 100, (height, width)).astype(dtype)
        resize = ExactResizeTransform(height, width, new_height, new_width)
        size = (int(new_width), int(new_height))
        wanted = Image.fromarray(label.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        np.testing.assert_array_equal(resize.apply_segmentation(label), np.asarray(wanted))


def test_ignored_ids_survive_resizing_in_sixteen_bits():
    label = np.array([[-1, 846], [458, 32766]], dtype=np.int16)
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    _, resized = _apply([ExactResizeShortestEdge([4, 4])], image, label)
    assert resized.dtype == np.int16
    assert resized.tolist() == np.kron(label, np.ones((2, 2), dtype=int)).tolist()


def test_colours_change_as_detectron2_changes_them_to_the_bit():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    for seed in range(40):
        changed = []
        for transform in (ColorAugSSDTransform("RGB"), QuickColorAugSSDTransform()):
            random.seed(seed)
            changed.append(transform.apply_image(image.copy()))
        np.testing.assert_array_equal(*changed)


def test_padding_is_128_in_the_image_and_ignored_in_the_label():
    image = np.full((3, 5, 3), 7, dtype=np.uint8)
    label = np.full((3, 5), 2, dtype=np.int64)
    image, label = _apply([PadToSize((4, 8))], image, label)
    assert image.shape == (4, 8, 3) and label.shape == (4, 8)
    assert (image[:3, :5] == 7).all() and (label[:3, :5] == 2).all()
    assert (image[3:] == 128).all() and (image[:, 5:] == 128).all()
    assert (label[3:] == IGNORE_LABEL).all() and (label[:, 5:] == IGNORE_LABEL).all()


def test_images_larger_than_the_padding_stay_as_they_are():
    image = np.zeros((9, 9, 3), dtype=np.uint8)
    assert _apply([PadToSize((4, 8))], image, np.zeros((9, 9), int))[0].shape == (9, 9, 3)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (64, 64), (20, 21)])
def test_training_items_have_the_crop_size_whatever_the_image(data_cfg, shape):
    data_cfg.INPUT.MAX_SIZE_TRAIN = 100
    image = np.zeros((*shape, 3), dtype=np.uint8)
    image, label = _apply(build_augmentations(data_cfg, True), image, np.zeros(shape, int))
    assert image.shape == (32, 32, 3) and label.shape == (32, 32)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (64, 64), (1, 1)])
def test_a_resized_part_has_the_crop_size_and_its_share_of_the_image(data_cfg, shape):
    crop = data_cfg.INPUT.CROP
    crop.TYPE, crop.SIZE, crop.SCALE = "resized", [24, 32], [0.2, 0.4]
    data_cfg.INPUT.COLOR_AUG_SSD = False
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    image = np.zeros((*shape, 3), dtype=np.uint8)
    corners = set()
    for i in range(20):
        with seeded(0, i):
            out, cells = _apply(build_augmentations(data_cfg, True), image, places)
        assert out.shape == (24, 32, 3) and cells.shape == (24, 32)
        rows, columns = (np.ptp(part) + 1 for part in np.divmod(cells, shape[1]))
        if shape == (64, 64):
            assert 0.17 < rows * columns / places.size < 0.43
            assert 0.7 < columns / rows < 1.4
        corners.add(int(cells.min()))
    assert len(corners) > 5 or shape != (64, 64)


def _largest_shares(data_cfg, cap, ignored=False):
    data_cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = cap
    data_cfg.INPUT.MIN_SIZE_TRAIN = (80,)
    data_cfg.INPUT.COLOR_AUG_SSD = False
    label = np.zeros((80, 80), dtype=np.int64)
    label[:, 40:] = IGNORE_LABEL if ignored else 1
    label[: 20 if ignored else 4] = 2
    image = np.zeros((80, 80, 3), dtype=np.uint8)
    shares = []
    for i in range(30):
        with seeded(0, i):
            crop = _apply(build_augmentations(data_cfg, True), image, label)[1]
        counts = np.unique(crop[crop != IGNORE_LABEL], return_counts=True)[1]
        shares.append(counts.max() / counts.sum() if counts.size else 1.0)
    return np.array(shares)


def test_the_category_cap_keeps_one_class_from_filling_the_crop(data_cfg):
    assert (_largest_shares(data_cfg, 0.8) < 0.8).mean() > 0.9
    assert (_largest_shares(data_cfg, 1.0) < 0.8).mean() < 0.6


def test_the_category_cap_does_not_count_ignored_pixels(data_cfg):
    # Only class 0 and 2 count: with the cap, class 2 must be in nearly every crop.
    assert (_largest_shares(data_cfg, 0.99, ignored=True) < 0.99).mean() > 0.7


def test_colour_jitter_changes_the_image_and_not_the_label(data_cfg):
    data_cfg.INPUT.RANDOM_FLIP = "none"
    data_cfg.INPUT.CROP.ENABLED = False
    data_cfg.INPUT.MIN_SIZE_TRAIN = (16,)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    label = np.arange(256).reshape(16, 16)
    random.seed(1)
    changed, same = _apply(build_augmentations(data_cfg, True), image, label)
    assert (changed != image).any() and changed.dtype == np.uint8
    assert (same == label).all()


STRONG = pytest.mark.parametrize("augmentation", [RandomBlur(2.0), RandomNoise(20.0)])


def _noisy(size=(24, 30)):
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


def _draw(augmentation, index, image):
    """The image after one draw, the label beside it, and the transforms."""
    inputs = T.AugInput(
        image.copy(), sem_seg=np.arange(image[..., 0].size).reshape(image.shape[:2])
    )
    with seeded(3, index):
        done = T.AugmentationList([augmentation])(inputs)
    return inputs.image, inputs.sem_seg, done


@STRONG
def test_blur_and_noise_spare_every_second_image_and_every_label(augmentation):
    image, spared = _noisy(), 0
    for index in range(200):
        changed, label, done = _draw(augmentation, index, image)
        assert changed.dtype == np.uint8 and changed.shape == image.shape
        assert (label.ravel() == np.arange(label.size)).all()
        # Where pixels lie is as it was.
        assert (geometric_part(done).apply_image(image.copy()) == image).all()
        spared += (changed == image).all()
    assert 75 <= spared <= 125


@STRONG
def test_blur_and_noise_repeat_with_their_seed(augmentation):
    image, found = _noisy(), set()
    for index in range(12):
        first, again = (_draw(augmentation, index, image)[0].tobytes() for _ in range(2))
        assert first == again
        found.add(first)
    assert len(found) > 3


def test_blur_takes_contrast_away_and_keeps_the_mean():
    image, widths = _noisy(), []
    for index in range(60):
        blurred = _draw(RandomBlur(2.0), index, image)[0].astype(float)
        assert blurred.std() <= image.std()
        assert abs(blurred.mean() - image.mean()) < 2
        widths.append(blurred.std() / image.std())
    assert min(widths) < 0.35 and max(widths) == 1  # sigma 2 leaves about a seventh
    flat = np.full((9, 9, 3), 201, np.uint8)
    assert all((_draw(RandomBlur(3.0), k, flat)[0] == 201).all() for k in range(9))


def test_noise_stays_within_its_deviation_and_the_range_of_a_byte():
    grey = np.full((60, 60, 3), 128, np.uint8)
    changes = [_draw(RandomNoise(20.0), k, grey)[0].astype(float) - 128 for k in range(60)]
    deviations = [change.std() for change in changes]
    assert 15 < max(deviations) < 21
    assert max(abs(change.mean()) for change in changes) < 1
    for value in (0, 255):  # half of the noise is cut off there; nothing wraps round
        edge = np.full((60, 60, 3), value, np.uint8)
        for k in range(9):
            assert np.abs(_draw(RandomNoise(20.0), k, edge)[0].astype(float) - value).max() < 120


def test_the_strong_view_has_blur_and_noise_where_asked_for(data_cfg):
    def kinds():
        return {type(a) for a in build_augmentations(data_cfg, True)} & {RandomBlur, RandomNoise}

    assert kinds() == set()
    data_cfg.INPUT.BLUR_SIGMA = 1.0
    assert kinds() == {RandomBlur}
    data_cfg.INPUT.NOISE_STD = 5.0
    assert kinds() == {RandomBlur, RandomNoise}


def test_flips_turn_image_and_label_together(data_cfg):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    data_cfg.INPUT.COLOR_AUG_SSD = False
    data_cfg.INPUT.MIN_SIZE_TRAIN = (32,)
    flipped = 0
    for i in range(20):
        with seeded(0, i):
            out, label = _apply(
                build_augmentations(data_cfg, True), image, image[..., 0].astype(int)
            )
        assert (out[..., 0] == label).all()
        flipped += (out[:, ::-1] == image).all()
    assert 4 < flipped < 16


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TYPE", "relative"),
        ("SIZE", [0.9, 0.9]),
        ("SIZE", [768]),
        ("SIZE", [0, 768]),
        ("SINGLE_CATEGORY_MAX_AREA", 0.0),
        ("SINGLE_CATEGORY_MAX_AREA", 1.5),
        ("SCALE", [0.5, 0.1]),
        ("SCALE", [0.0, 1.0]),
        ("SCALE", [0.5]),
    ],
)
def test_an_impossible_crop_is_refused_by_key(data_cfg, key, value):
    setattr(data_cfg.INPUT.CROP, key, value)
    with pytest.raises(ValueError, match=f"INPUT.CROP.{key}: expected"):
        build_augmentations(data_cfg, True)


def test_an_unknown_flip_is_refused_by_key(data_cfg):
    data_cfg.INPUT.RANDOM_FLIP = "sideways"
    with pytest.raises(ValueError, match="INPUT.RANDOM_FLIP: expected one of horizontal"):
        build_augmentations(data_cfg, True)
