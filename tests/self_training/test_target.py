import pytest

from stseg.data.datasets import dataset_vocabulary
from stseg.self_training.target import source_vocabulary
from stseg.structures import Vocabulary


def test_the_source_is_a_data_set_a_list_that_ships_or_a_file(tmp_path):
    name = "coco_2017_train_stuff_base_sem_seg"
    assert source_vocabulary(name) == dataset_vocabulary(name)
    shipped = Vocabulary.parse(source_vocabulary("vocab:coco_stuff_171"))
    assert shipped == dataset_vocabulary("coco_2017_train_stuff_all_sem_seg")
    assert source_vocabulary(str(tmp_path / "a.txt")) == tmp_path / "a.txt"
    assert source_vocabulary("") is None
    with pytest.raises(ValueError, match="a list that ships .*got 'coco'"):
        source_vocabulary("coco")
