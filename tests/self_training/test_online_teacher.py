"""Batches that the present weights label."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from stseg.self_training.online_teacher import OnlineTeacher, TaughtLoader
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.structures import IGNORE_LABEL


class Labeler:
    """Labels every pixel with what the first channel of the image says."""

    def __init__(self):
        self.asked = []

    def label(self, model, item, thresholds, max_side):
        self.thresholds = thresholds
        self.asked.append((model.training, model.weight.item(), item["height"], item["width"]))
        assert max_side == max(item["height"], item["width"])
        return PseudoLabel(item["image"][0].numpy().astype(np.int32), None, ())


def make(average=7.0):
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    @contextmanager
    def weights():
        nn.init.constant_(model.weight, average)
        yield
        nn.init.zeros_(model.weight)

    labeler = Labeler()
    return OnlineTeacher(labeler, model, weights), labeler, model


def item(seed=0, size=(4, 6)):
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(size, dtype=torch.bool)
    inside[:3, :5] = True
    weak = torch.randint(0, 4, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": 255 - weak, "weak_image": weak, "inside": inside, "height": 40, "width": 60}


def test_the_padding_around_a_picture_is_ignored():
    teacher, _, _ = make()
    (labelled,) = teacher([item()])
    label, inside = labelled["sem_seg"], item()["inside"]
    assert label.dtype == torch.int64 and label.shape == (4, 6)
    assert torch.equal(label[inside], item()["weak_image"][0].long()[inside])
    assert (label[~inside] == IGNORE_LABEL).all()


def test_weights_of_labels_are_handed_on():
    teacher, labeler, _ = make()
    (plain,) = teacher([item()])
    weights = np.full((4, 6), 0.5, np.float32)
    inner = labeler.label
    labeler.label = lambda *args, **options: replace(inner(*args, **options), weights=weights)
    (weighted,) = teacher([item()])
    assert "sem_seg_weight" not in plain
    assert torch.equal(weighted["sem_seg_weight"], torch.full((4, 6), 0.5))
    assert torch.equal(weighted["sem_seg"], plain["sem_seg"])


def test_the_weak_view_is_labelled_and_the_strong_one_is_learnt_from():
    teacher, labeler, model = make()
    first, second = teacher([item(0), item(1)])
    assert torch.equal(first["image"], item(0)["image"])
    assert not torch.equal(first["sem_seg"], second["sem_seg"])
    # By the teacher's weights in evaluation mode, at the size of the view.
    assert labeler.asked == [(False, 7.0, 4, 6)] * 2
    assert model.training and model.weight.item() == 0
    assert (first["height"], first["width"]) == (40, 60)


def test_the_thresholds_of_the_round_are_those_of_every_batch():
    teacher, labeler, _ = make()
    teacher([item()])
    assert labeler.thresholds is None
    teacher.thresholds = np.array([0.4, 0.9], np.float32)
    teacher([item()])
    assert labeler.thresholds is teacher.thresholds


def test_labelled_images_of_the_source_pass():
    teacher, labeler, _ = make()
    given = {"image": torch.zeros(3, 4, 6), "sem_seg": torch.ones(4, 6).long()}
    assert teacher([given])[0] is given and not labeler.asked


def test_a_loader_starts_at_once_and_its_batches_are_labelled_when_they_are_asked_for():
    teacher, labeler, _ = make()
    started = []

    class Loader:
        def __iter__(self):
            started.append(True)
            return iter([[item(0)], [item(1), item(2)]])

    batches = iter(TaughtLoader(Loader(), teacher))
    assert started == [True] and not labeler.asked
    assert [len(batch) for batch in batches] == [1, 2] and len(labeler.asked) == 3
    assert all("sem_seg" in x for batch in TaughtLoader(Loader(), teacher) for x in batch)
