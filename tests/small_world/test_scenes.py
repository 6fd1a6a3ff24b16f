"""The small world: pictures, labels, captions, splits and their files."""

import itertools
import json

import cv2
import numpy as np
import pytest

from demo.small_world import FIRST_SEED as DEMO_SEED
from stseg.small_world.drawing import draw_thing
from stseg.small_world.names import (
    CLASS_NAMES,
    COLOURS,
    PATTERNS,
    SEEN_NAMES,
    STUFF_NAMES,
    THING_NAMES,
    UNSEEN_NAMES,
)
from stseg.small_world.other_camera import TARGET_SEEDS
from stseg.small_world.pairs import UNSAID, build_pool, match_phrases, parse_caption
from stseg.small_world.scenes import SEEDS_PER_SPLIT, SPLIT_SEEDS, Phrase, render
from stseg.small_world.shapes import PARTS
from stseg.small_world.split_files import (
    IGNORED_IN_FILES,
    SPLITS,
    split_scene,
    train_labels,
    write_split,
)


def test_the_world_has_enough_stuff_things_colours_and_patterns():
    assert len(STUFF_NAMES) >= 10
    assert len(THING_NAMES) >= 20
    assert len(COLOURS) == 8
    assert len(PATTERNS) == 4
    assert set(PARTS) == set(THING_NAMES)
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES)


def test_seen_and_unseen_part_the_classes_and_each_has_stuff_and_things():
    assert sorted(SEEN_NAMES + UNSEEN_NAMES) == sorted(CLASS_NAMES)
    for group in (SEEN_NAMES, UNSEEN_NAMES):
        assert set(group) & set(STUFF_NAMES)
        assert set(group) & set(THING_NAMES)


def test_the_same_seed_and_index_give_the_same_scene_and_others_differ():
    first, again = render(3, 5), render(3, 5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label_map, again.label_map)
    assert first.caption == again.caption
    for other in (render(3, 6), render(4, 5)):
        assert (first.image != other.image).any()


def test_a_scene_does_not_depend_on_what_was_rendered_before():
    alone = render(0, 9)
    for index in range(9):
        render(0, index)
    np.testing.assert_array_equal(alone.image, render(0, 9).image)


def test_labels_are_exact_where_a_thing_covers_a_pixel():
    """Without noise and neighbours, a pixel is labelled a thing where its coverage is half."""
    _, coverage = draw_thing("star", "red", "plain", 64, 0.0, False, 0.0)
    assert coverage.min() >= 0.0
    assert coverage.max() <= 1.0
    for index in range(20):
        scene = render(0, index, 64, "object")
        assert scene.label_map.dtype == np.uint8
        assert scene.image.shape == (64, 64, 3)
        ids = set(np.unique(scene.label_map))
        assert len([i for i in ids if i >= len(STUFF_NAMES)]) <= 1


@pytest.mark.parametrize("name", THING_NAMES)
def test_every_thing_is_drawn_whole_in_its_frame_and_is_of_some_size(name):
    for degrees in (-20.0, 0.0, 20.0):
        _, coverage = draw_thing(name, "blue", "striped", 64, degrees, False, 0.3)
        inside = coverage >= 0.5
        assert 0.15 < inside.mean() < 0.85
        border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        assert border.mean() < 0.06


def test_colour_and_pattern_change_the_look_and_not_the_outline():
    looks = {
        (colour, pattern): draw_thing("cat", colour, pattern, 48, 5.0, False, 0.1)
        for colour, pattern in itertools.product(COLOURS, PATTERNS)
    }
    outlines = [coverage for _, coverage in looks.values()]
    for outline in outlines[1:]:
        np.testing.assert_array_equal(outlines[0], outline)
    for (_, (one, _)), (_, (two, _)) in itertools.combinations(looks.items(), 2):
        assert np.abs(one - two)[outlines[0] > 0.9].mean() > 2.0


def test_captions_name_only_classes_with_visible_pixels():
    for index in range(40):
        scene = render(1, index)
        for phrase in parse_caption(scene.caption):
            pixels = (scene.label_map == CLASS_NAMES.index(phrase.noun)).sum()
            assert pixels >= 48, (index, scene.caption)


def test_captions_name_every_class_that_is_plainly_visible():
    for index in range(40):
        scene = render(1, index)
        named = {phrase.noun for phrase in parse_caption(scene.caption)}
        shares = np.bincount(scene.label_map.ravel(), minlength=len(CLASS_NAMES))
        for name, pixels in zip(CLASS_NAMES, shares, strict=True):
            if pixels > 0.2 * scene.label_map.size:
                assert name in named, (index, scene.caption)


def test_captions_speak_of_unseen_classes_too():
    named = {p.noun for i in range(100) for p in parse_caption(render(0, i).caption)}
    assert named == set(CLASS_NAMES)


def test_a_caption_is_read_back_as_nouns_with_their_attributes():
    assert parse_caption("a photo of a striped red star and a cat on wood") == (
        Phrase("star", "red", "striped"),
        Phrase("cat"),
        Phrase("wood"),
    )


def test_a_phrase_is_true_false_or_unknown_of_a_caption():
    star, red, striped = CLASS_NAMES.index("star"), list(COLOURS).index("red"), 1
    blue = list(COLOURS).index("blue")
    said = [np.array([[star, red, striped]]), np.array([[star, UNSAID, striped]])]
    phrases = np.array([[star, red, UNSAID], [star, blue, UNSAID], [star + 1, red, UNSAID]])
    true, unknown = match_phrases(said, phrases)
    assert true.tolist() == [[True, False, False], [False, False, False]]
    assert unknown.tolist() == [[False, False, False], [True, True, False]]


def test_an_unknown_kind_of_picture_is_refused():
    with pytest.raises(ValueError, match="kind: expected 'scene'"):
        render(0, 0, 64, "portrait")


def test_splits_draw_from_disjoint_seeds():
    starts = sorted([*SPLIT_SEEDS.values(), *TARGET_SEEDS.values(), DEMO_SEED])
    assert all(b - a >= SEEDS_PER_SPLIT for a, b in itertools.pairwise(starts))
    images = [split_scene(split, 0).image for split in SPLITS]
    for one, two in itertools.combinations(images, 2):
        assert (one != two).any()


@pytest.mark.parametrize("seed", [-1, SEEDS_PER_SPLIT])
def test_a_seed_that_would_reach_into_another_split_is_refused(seed):
    with pytest.raises(ValueError, match="seed: expected 0 to"):
        split_scene("train", 0, seed)


def test_train_labels_keep_seen_classes_in_order_and_ignore_unseen_ones():
    everything = np.arange(len(CLASS_NAMES), dtype=np.uint8)[None]
    mapped = train_labels(everything)[0]
    for name, label in zip(CLASS_NAMES, mapped, strict=True):
        expected = IGNORED_IN_FILES if name in UNSEEN_NAMES else SEEN_NAMES.index(name)
        assert label == expected


def test_the_written_folder_holds_exact_pictures_labels_captions_and_names(tmp_path):
    for split in ("train", "val"):
        write_split(tmp_path, split, 6, seed=2)
    assert tuple(json.loads((tmp_path / "names.json").read_text())) == CLASS_NAMES
    assert tuple(json.loads((tmp_path / "names_seen.json").read_text())) == SEEN_NAMES
    unseen_ids = [CLASS_NAMES.index(name) for name in UNSEEN_NAMES]
    for index in range(6):
        scene = split_scene("val", index, 2)
        label = cv2.imread(str(tmp_path / f"labels/val/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        image = cv2.imread(str(tmp_path / f"images/val/{index:06d}.png"))
        np.testing.assert_array_equal(label, scene.label_map)
        np.testing.assert_array_equal(image[..., ::-1], scene.image)
        train = cv2.imread(str(tmp_path / f"labels/train/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        hidden = np.isin(split_scene("train", index, 2).label_map, unseen_ids)
        assert (train[hidden] == IGNORED_IN_FILES).all()
        assert (train[~hidden] < len(SEEN_NAMES)).all()
    lines = (tmp_path / "captions_val.jsonl").read_text().splitlines()
    assert json.loads(lines[3])["caption"] == split_scene("val", 3, 2).caption


def test_a_pool_of_pairs_is_the_same_whatever_the_number_of_workers():
    alone = build_pool(6, 48, ("object", "stuff", "scene"), seed=1, workers=0)
    assert alone.images.shape == (6, 48, 48, 3)
    assert alone.named.any(1).all()
    together = build_pool(6, 48, ("object", "stuff", "scene"), seed=1, workers=1)
    np.testing.assert_array_equal(alone.images, together.images)
    assert alone.captions == together.captions


@pytest.fixture
def registered(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    from stseg.data.datasets.register import register_small_world

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_small_world()
    return tmp_path / "small_world"


def test_registered_splits_list_what_was_written(registered):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for split in ("train", "dev", "val"):
        write_split(registered, split, 3)
        records = DatasetCatalog.get(f"small_world_{split}_sem_seg")
        assert len(records) == 3
        metadata = MetadataCatalog.get(f"small_world_{split}_sem_seg")
        assert metadata.ignore_label == IGNORED_IN_FILES
        expected = SEEN_NAMES if split == "train" else CLASS_NAMES
        assert metadata.vocabulary.names == tuple(metadata.stuff_classes) == expected
        assert sum(metadata.vocabulary.seen) == len(SEEN_NAMES)


def test_a_missing_split_names_the_folder_and_the_command(registered):
    from detectron2.data import DatasetCatalog

    with pytest.raises(FileNotFoundError, match="stseg data prepare small_world --out"):
        DatasetCatalog.get("small_world_val_sem_seg")
