import itertools
import pickle
import random

import numpy as np
import pytest
import torch

from stseg.data import loaders as build_module
from stseg.data.loaders import build_test_loader, build_train_loader
from stseg.data.readers import register_folder
from stseg.data.sampling import PositionSampler, seeded
from tests.helpers.tiny_data import write_folder


@pytest.fixture
def tiny(tmp_path, data_cfg, clean_catalog):
    register_folder("tiny", *write_folder(tmp_path))
    data_cfg.DATASETS.TRAIN = ("tiny",)
    return data_cfg


def _batches(cfg, count, start_iter=0):
    return list(itertools.islice(build_train_loader(cfg, start_iter), count))


def _same(a, b):
    tensors = [key for key in ("image", "sem_seg") if key in a]
    return a["file_name"] == b["file_name"] and all(torch.equal(a[k], b[k]) for k in tensors)


def _all_same(one, other):
    one, other = (list(itertools.chain(*batches)) for batches in (one, other))
    return len(one) == len(other) and all(map(_same, one, other))


def test_every_epoch_holds_every_sample_once_in_a_new_order():
    pairs = list(itertools.islice(PositionSampler(10, seed=3), 30))
    assert [position for position, _ in pairs] == list(range(30))
    epochs = [[index for _, index in pairs[i : i + 10]] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_processes_share_the_stream_out():
    whole = list(itertools.islice(PositionSampler(7, 0, start=6), 12))
    parts = [
        list(itertools.islice(PositionSampler(7, 0, start=6, rank=r, world_size=3), 4))
        for r in range(3)
    ]
    assert sorted(itertools.chain(*parts)) == whole


def test_the_same_seed_gives_the_same_items(tiny):
    assert _all_same(_batches(tiny, 4), _batches(tiny, 4))
    other = tiny.clone()
    other.SEED = 8
    assert not _all_same(_batches(tiny, 4), _batches(other, 4))


def test_augmentations_of_one_sample_differ_between_epochs(tiny):
    items = list(itertools.chain(*_batches(tiny, 9)))
    visits = [item["image"] for item in items if item["file_name"] == items[0]["file_name"]]
    assert len(visits) == 3 and not torch.equal(visits[0], visits[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(tiny, workers):
    whole = _batches(tiny, 7)
    tiny.DATALOADER.NUM_WORKERS = workers
    assert _all_same(_batches(tiny, 3, start_iter=4), whole[4:])


def test_two_processes_see_together_what_one_sees(tiny, monkeypatch):
    tiny.SOLVER.IMS_PER_BATCH = 4
    whole = _batches(tiny, 3)
    monkeypatch.setattr(build_module.comm, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(build_module.comm, "get_rank", lambda rank=rank: rank)
        parts.append(_batches(tiny, 3))
    assert all(len(batch) == 2 for part in parts for batch in part)
    together = [[a[0], b[0], a[1], b[1]] for a, b in zip(*parts, strict=True)]
    assert _all_same(together, whole)


def test_two_processes_that_resume_go_on_with_what_one_sees(tiny, monkeypatch):
    tiny.SOLVER.IMS_PER_BATCH = 4
    whole = _batches(tiny, 7)
    monkeypatch.setattr(build_module.comm, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(build_module.comm, "get_rank", lambda rank=rank: rank)
        assert _all_same(_batches(tiny, 2, start_iter=5), [batch[rank::2] for batch in whole[5:]])


def test_loaders_can_be_sent_to_spawned_workers(tiny):
    for loader in (build_train_loader(tiny), build_test_loader(tiny, "tiny")):
        dataset, sampler, collate = pickle.loads(
            pickle.dumps((loader.dataset, loader.batch_sampler, loader.collate_fn))
        )
        keys = next(iter(sampler))
        assert _all_same([[dataset[key] for key in keys]], [next(iter(loader))])


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_global_generators_alone(tiny, workers):
    tiny.DATALOADER.NUM_WORKERS = workers
    expected = []
    for load in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if load:
            _batches(tiny, 2)
        expected.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert expected[0] == expected[1]


def test_seeding_is_undone_after_an_error():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1, 2):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


def test_the_test_loader_visits_every_image_once_in_order(tiny):
    tiny.DATALOADER.TEST_BATCH_SIZE = 4
    batches = list(build_test_loader(tiny, "tiny"))
    assert [len(batch) for batch in batches] == [4, 2]
    names = [item["file_name"] for batch in batches for item in batch]
    assert names == sorted(names) and len(set(names)) == 6


def test_training_sets_with_one_vocabulary_are_joined(tiny, tmp_path):
    register_folder("more", *write_folder(tmp_path / "more"))
    tiny.DATASETS.TRAIN = ("tiny", "more")
    files = {item["file_name"] for batch in _batches(tiny, 6) for item in batch}
    assert len(files) == 12


def test_training_sets_with_unlike_vocabularies_are_refused(tiny, tmp_path):
    images, labels, _ = write_folder(tmp_path / "more")
    (tmp_path / "other.txt").write_text("sky\ncar\ntree\nroad\n")
    register_folder("more", images, labels, tmp_path / "other.txt")
    tiny.DATASETS.TRAIN = ("tiny", "more")
    with pytest.raises(ValueError, match="one vocabulary, got tiny .* and more"):
        build_train_loader(tiny)


def test_a_set_whose_background_is_no_vocabulary_id_is_refused_for_training(tiny):
    tiny.DATASETS.TRAIN = ("voc_2012_test_background_sem_seg",)
    with pytest.raises(ValueError, match="voc_2012_test_background_sem_seg.*evaluation only"):
        build_train_loader(tiny)


def test_an_unknown_data_set_is_refused_with_the_known_ones(tiny):
    with pytest.raises(ValueError, match="DATASETS.TEST: .*'nothing'.*ade20k_150_test_sem_seg"):
        build_test_loader(tiny, "nothing")
    tiny.DATASETS.TRAIN = ("nothing",)
    with pytest.raises(ValueError, match="DATASETS.TRAIN: .*'nothing'"):
        build_train_loader(tiny)
    tiny.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match="DATASETS.TRAIN: expected at least one"):
        build_train_loader(tiny)


def test_values_the_loaders_cannot_serve_are_refused_by_key(tiny):
    wrong = tiny.clone()
    wrong.DATALOADER.TEST_BATCH_SIZE = 0
    with pytest.raises(ValueError, match="DATALOADER.TEST_BATCH_SIZE: .*got 0"):
        build_test_loader(wrong, "tiny")
    wrong.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(ValueError, match="DATALOADER.SAMPLER_TRAIN: .*got 'RepeatFactor"):
        build_train_loader(wrong)


def test_a_batch_that_cannot_be_shared_out_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(build_module.comm, "get_world_size", lambda: 2)
    tiny.SOLVER.IMS_PER_BATCH = 3
    with pytest.raises(ValueError, match="SOLVER.IMS_PER_BATCH: .*2 processes, got 3"):
        build_train_loader(tiny)
