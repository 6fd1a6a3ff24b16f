from dataclasses import replace

import numpy as np
import pytest
import torch

from stseg.checkpoint import WeightFacts
from stseg.config import setup_cfg
from stseg.data import register_images
from stseg.data.datasets import dataset_vocabulary
from stseg.self_training.target import Target, hold_out, load_target, source_vocabulary
from stseg.structures import Vocabulary
from tests.helpers.tiny_data import write_folder


def test_the_source_is_a_data_set_a_list_that_ships_or_a_file(tmp_path):
    name = "coco_2017_train_stuff_base_sem_seg"
    assert source_vocabulary(name) == dataset_vocabulary(name)
    shipped = Vocabulary.parse(source_vocabulary("vocab:coco_stuff_171"))
    assert shipped == dataset_vocabulary("coco_2017_train_stuff_all_sem_seg")
    assert source_vocabulary(str(tmp_path / "a.txt")) == tmp_path / "a.txt"
    assert source_vocabulary("") is None
    with pytest.raises(ValueError, match="a list that ships .*got 'coco'"):
        source_vocabulary("coco")


def test_without_a_key_the_weights_say_what_they_learnt(tmp_path, clean_catalog):
    images = write_folder(tmp_path / "set")[0]
    register_images("mine", images, "sky; tree; lamp")
    facts = WeightFacts(trained_on=(("sky-other",), ("tree",))).beside()
    torch.save({"model": {"a": torch.zeros(1)}, **facts}, tmp_path / "weights.pth")
    (tmp_path / "names.txt").write_text("lamp")

    def seen(**keys):
        cfg = setup_cfg(opts=["DATASETS.TRAIN", "('mine',)", *sum(keys.items(), ())], device="cpu")
        target = load_target(cfg)
        assert [c["seen"] for c in target.seen["classes"]] == list(target.vocabulary.seen)
        return target.vocabulary.seen

    weights = {"MODEL.WEIGHTS": str(tmp_path / "weights.pth")}
    assert seen(**weights) == (True, True, False)
    key = {"SELF_TRAINING.SOURCE_VOCABULARY": str(tmp_path / "names.txt")}
    assert seen(**weights, **key) == (False, False, True)
    assert seen(**{"MODEL.WEIGHTS": "random"}) == seen() == (False, False, False)


def many(count):
    return [{"file_name": f"{k:05d}.jpg"} for k in range(count)]


def test_the_guards_images_are_held_out_where_there_are_many():
    kept, judged = hold_out(many(160), 32, seed=3)
    names = [[r["file_name"] for r in part] for part in (kept, judged)]
    assert len(names[1]) == 32 and not set(names[0]) & set(names[1])
    assert sorted(names[0] + names[1]) == [r["file_name"] for r in many(160)]
    assert names[0] == sorted(names[0]) and names[1] == sorted(names[1])
    assert hold_out(many(160), 32, seed=3) == (kept, judged)
    assert hold_out(many(160), 32, seed=4)[1] != judged
    places = np.diff([int(name[:5]) for name in names[1]])
    assert len(set(places.tolist())) > 5  # not every n-th


def test_few_images_are_judged_and_trained_on():
    kept, judged = hold_out(many(159), 32, seed=0)
    assert kept == many(159) and len(judged) == 32
    assert hold_out(many(3), 32, seed=0) == (many(3), many(3))


def test_without_images_of_its_own_the_guard_takes_some_that_are_trained_on():
    records = tuple(many(9))
    target = Target("t", records, Vocabulary.parse("cat; dog"))
    assert len(target.judged(4)) == 4 and set(map(str, target.judged(4))) <= set(map(str, records))
    held = replace(target, guard=tuple(many(11)[9:]))
    assert held.judged(4) == tuple(many(11)[9:])
