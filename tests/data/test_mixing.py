import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from stseg.data import loaders as build_module
from stseg.data.loaders import build_self_training_loader
from stseg.data.mixing import MixedSampler, label_translation, source_share
from stseg.data.readers import register_folder, register_images
from stseg.data.sampling import PositionSampler
from stseg.render.label_files import encode_labels
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers.tiny_data import write_folder

TARGET = Vocabulary.from_names(["vehicle, car", "sky", "lake"]).with_seen("car; sky")


def _translated(source, target):
    return label_translation(Vocabulary.from_names(source), Vocabulary.from_names(target)).tolist()


def test_labels_are_translated_by_name_and_synonym():
    assert _translated(["Sky", "auto, car", "sea"], ["car", "sky"]) == [1, 0, IGNORE_LABEL]


def test_the_same_name_wins_over_a_shared_synonym():
    assert _translated(["bag", "sack, bag"], ["sack, bag", "bag"]) == [1, 0]


def test_a_label_that_fits_several_classes_is_ignored():
    assert _translated(["vehicle, car, truck", "truck"], ["car", "truck"]) == [IGNORE_LABEL, 1]


def _mixed(start=0, rank=0, world_size=1):
    return MixedSampler(
        PositionSampler(7, seed=1),
        PositionSampler(3, seed=2),
        batch_size=6,
        source_per_batch=2,
        start=start,
        rank=rank,
        world_size=world_size,
    )


def _take(sampler, count):
    return list(itertools.islice(sampler, count))


def test_every_batch_holds_the_same_share_and_both_streams_run_on():
    pairs = _take(_mixed(), 60)
    batches = [[index for _, index in pairs[i : i + 6]] for i in range(0, 60, 6)]
    assert all([index >= 7 for index in batch] == [True] * 2 + [False] * 4 for batch in batches)
    target = [index for batch in batches for index in batch if index < 7]
    source = [index - 7 for batch in batches for index in batch if index >= 7]
    assert target == [index for _, index in _take(PositionSampler(7, seed=1), 40)]
    assert source == [index for _, index in _take(PositionSampler(3, seed=2), 20)]


def test_a_mixed_stream_can_be_entered_anywhere_and_shared_out():
    whole = _take(_mixed(), 60)
    assert _take(_mixed(start=18), 42) == whole[18:]
    parts = [_take(_mixed(start=12, rank=r, world_size=3), 16) for r in range(3)]
    assert sorted(itertools.chain(*parts)) == whole[12:]


@pytest.mark.parametrize(("batch", "fraction"), [(4, 0.0), (4, 0.1), (4, 1.0), (1, 0.5)])
def test_a_share_that_leaves_one_side_out_is_refused(batch, fraction):
    with pytest.raises(ValueError, match=r"SELF_TRAINING\.SOURCE\.FRACTION: expected"):
        source_share(batch, fraction)
    assert source_share(8, 0.25) == 2


@pytest.fixture
def target(tmp_path, data_cfg, clean_catalog):
    """Records of six images with pseudo-labels: class 2 everywhere, a border ignored."""
    register_folder("source", *write_folder(tmp_path / "source"))
    images, _, _ = write_folder(tmp_path / "target")
    register_images("target", images, TARGET)
    label = np.full((40, 56), 2)
    label[:, :8] = IGNORE_LABEL
    records = []
    for record in build_module.DatasetCatalog.get("target"):
        path = record["file_name"] + ".label.png"
        with open(path, "wb") as file:
            file.write(encode_labels(label, len(TARGET)))
        records.append(record | {"sem_seg_file_name": path})
    data_cfg.SOLVER.IMS_PER_BATCH = 4
    data_cfg.INPUT.CROP.ENABLED = False
    return data_cfg, records


def _batches(target, count, start=0, **options):
    cfg, records = target
    loader = build_self_training_loader(cfg, start, records, "target", TARGET, **options)
    return list(itertools.islice(loader, count))


MIX = {"source_names": ["source"], "source_fraction": 0.25}


def test_pseudo_labels_are_read_and_the_vocabulary_keeps_its_marks(target):
    for item in itertools.chain(*_batches(target, 3)):
        assert set(item["sem_seg"].unique().tolist()) == {2, IGNORE_LABEL}
        assert item["vocabulary"].seen == (True, True, False)
        assert "weak_image" not in item


def test_pseudo_labels_have_an_ignored_id_of_their_own(target, tmp_path):
    paths = write_folder(tmp_path / "other")
    register_folder("other", *paths, ignore_label=77)
    loader = build_self_training_loader(target[0], 0, target[1], "other", TARGET)
    assert IGNORE_LABEL in next(iter(loader))[0]["sem_seg"]


def test_pseudo_labels_are_class_ids_whatever_the_files_of_the_data_set_hold(target):
    MetadataCatalog.get("target").__dict__["label_ids"] = (2, 1, 0)
    assert 2 in _batches(target, 1)[0][0]["sem_seg"]
    assert 0 not in _batches(target, 1)[0][0]["sem_seg"]


def test_source_items_carry_translated_labels_and_the_target_vocabulary(target):
    for batch in _batches(target, 4, **MIX):
        assert [item.get("domain") for item in batch] == ["source", None, None, None]
        assert all(item["vocabulary"] is not None for item in batch)
        assert {item["vocabulary"].names for item in batch} == {TARGET.names}
        # Of sky, road, tree, car the target has car (its 0) and sky (its 1).
        assert set(batch[0]["sem_seg"].unique().tolist()) == {0, 1, IGNORE_LABEL}
        assert all(2 in item["sem_seg"] for item in batch[1:])


def test_translated_labels_lie_where_the_source_labels_lie(target):
    cfg = target[0]
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (40,), "none"
    item = _batches(target, 1, **MIX)[0][0]
    raw = torch.from_numpy(np.array(Image.open(item["sem_seg_file_name"])).astype(np.int64))
    expected = torch.tensor([1, IGNORE_LABEL, IGNORE_LABEL, 0])[raw]
    assert torch.equal(item["sem_seg"], expected)


def _flat(batches):
    return [(i["file_name"], i["image"], i["sem_seg"]) for batch in batches for i in batch]


def _same(a, b):
    return len(a) == len(b) and all(
        x[0] == y[0] and torch.equal(x[1], y[1]) and torch.equal(x[2], y[2])
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"weights": [1, 2, 3, 0, 1, 1]}, MIX])
def test_a_resumed_or_spread_out_run_sees_the_same(target, monkeypatch, options):
    whole = _batches(target, 5, **options)
    assert _same(_flat(_batches(target, 2, start=3, **options)), _flat(whole[3:]))
    monkeypatch.setattr(build_module.comm, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(build_module.comm, "get_rank", lambda rank=rank: rank)
        parts.append(_batches(target, 5, **options))
    together = [[a[0], b[0], a[1], b[1]] for a, b in zip(*parts, strict=True)]
    assert _same(_flat(together), _flat(whole))


def test_sets_of_one_size_are_met_in_orders_of_their_own(target):
    half = {"source_names": ["source"], "source_fraction": 0.5}
    places = {"source": [], None: []}  # number of the scene of each image
    for item in itertools.chain(*_batches(target, 12, **half)):
        places[item.get("domain")].append(Path(item["file_name"]).stem)
    assert len(places["source"]) == len(places[None]) == 24
    assert all(set(p[i : i + 6]) == set(p[:6]) for p in places.values() for i in (0, 6, 12, 18))
    assert places["source"] != places[None]


def test_online_items_have_a_weak_view_and_need_no_label(target):
    cfg, records = target
    bare = [{"file_name": record["file_name"]} for record in records]
    for batch in _batches((cfg, bare), 2, online=True, **MIX):
        assert "sem_seg" in batch[0] and all("sem_seg" not in item for item in batch[1:])
        assert all(item["weak_image"].shape == item["image"].shape for item in batch)
    with pytest.raises(ValueError, match="expected a label map for training"):
        _batches((cfg, bare), 1)


def test_a_mixing_loader_can_be_sent_to_spawned_workers(target):
    cfg, records = target
    cfg.DATALOADER.NUM_WORKERS = 1
    loader = build_self_training_loader(cfg, 0, records, "target", TARGET, online=True, **MIX)
    assert pickle.loads(pickle.dumps((loader.dataset, loader.batch_sampler)))
    assert _same(_flat(itertools.islice(loader, 2)), _flat(_batches(target, 2, **MIX)))


def test_a_source_that_cannot_be_used_is_refused_by_key(target, tmp_path):
    names = tmp_path / "strangers.json"
    names.write_text(json.dumps(["w", "x", "y", "z"]))
    images, labels, _ = write_folder(tmp_path / "strange")
    register_folder("strange", images, labels, names)
    for name, told in [
        ("strange", "shares no name"),
        ("nothing", "'nothing'"),
        ("voc_2012_test_background_sem_seg", "evaluation only"),
    ]:
        with pytest.raises(ValueError, match=rf"SELF_TRAINING\.SOURCE\.DATASETS.*{told}"):
            _batches(target, 1, source_names=[name], source_fraction=0.5)
    with pytest.raises(ValueError, match="at least one sample"):
        _batches((target[0], []), 1)
