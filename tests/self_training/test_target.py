import pytest
import torch

from stseg.checkpoint import WeightFacts
from stseg.config import setup_cfg
from stseg.data import register_images
from stseg.data.datasets import dataset_vocabulary
from stseg.self_training.target import load_target, source_vocabulary
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
