"""The offset of seen classes that is chosen without labels, on a toy whose answer is known."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.seen_offset import chosen_offset, tower_labels, unseen_shares
from stseg.modeling.meta_arch import CEL
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import register, tiny_cel_cfg

WORDS = Vocabulary.parse("sky; tree; cat, kitten").with_seen("sky; tree")
SKY, TREE, CAT = range(3)
WORDS_OF = ClassEmbeddings(torch.eye(4)[:, None], torch.tensor([0, 1, 2, 2]), 3)


class Tower:
    """Its cells of 4 x 4 pixels show names: the left quarter a kitten, else the sky."""

    pixel_mean = torch.zeros(3, 1, 1)

    def output_shape(self):
        return {"dense": SimpleNamespace(stride=4), "res5": SimpleNamespace(stride=8)}

    def __call__(self, images):
        rows, columns = (side // 4 for side in images.shape[-2:])
        dense = torch.zeros(1, 4, rows, columns)
        dense[:, 0] = 1.0
        dense[:, 3, :, : columns // 4] = 2.0
        return {"dense": dense}


class Toy:
    """Says "tree" but where the offset is above what it prefers it by: 0 to 0.3, left to right."""

    device = torch.device("cpu")

    def __init__(self):
        self.scoring, self.image_encoder = SimpleNamespace(seen_offset=0.5), Tower()

    def embed(self, vocabulary):
        return WORDS_OF

    def encoded(self, image, kept_bytes):
        return image

    def scores_of(self, encoded, embeddings, vocabulary):
        offset = self.scoring.seen_offset
        return SimpleNamespace(at=lambda size: (size, offset))

    def best(self, source):
        (height, width), offset = source
        prefers = 0.3 * torch.arange(width) / width
        labels = torch.where(prefers < offset, CAT, TREE).expand(height, width)
        return SimpleNamespace(labels=labels)


def images(count=2, size=(32, 64)):
    return [{"image": torch.zeros(3, *size, dtype=torch.uint8)} for _ in range(count)]


def test_the_offset_is_where_the_model_gives_unseen_classes_what_the_tower_does():
    model, offsets = Toy(), [k / 100 for k in range(31)]
    tower, shares = unseen_shares(model, images(), WORDS, offsets)
    assert tower == 0.25
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    # Of 0.3 x column / 64, a quarter is below 0.075: 0.07 gives 15 of 64 columns, 0.08 gives 18.
    assert chosen_offset(offsets, shares, tower) == 0.07
    assert model.scoring.seen_offset == 0.5 and len(shares) == len(offsets)


def test_of_equally_good_offsets_the_least_is_taken():
    assert chosen_offset([0.0, 0.1, 0.2, 0.3], [0.1, 0.3, 0.3, 0.5], 0.3) == 0.1
    assert chosen_offset([0.0, 0.1], [0.4, 0.6], 0.2) == 0.0
    assert chosen_offset([0.0, 0.1], [0.1, 0.2], 0.9) == 0.1


def test_padding_of_the_tower_is_not_counted():
    found = tower_labels(Toy(), torch.zeros(3, 12, 36), WORDS_OF)  # padded to 16 x 40
    assert found.shape == (3, 9)
    assert found[:, :2].unique().tolist() == [CAT] and found[:, 2:].unique().tolist() == [SKY]


def test_images_count_alike_whatever_their_size():
    small, large = images(1, (16, 32)), images(1, (256, 512))
    one, two = (unseen_shares(Toy(), x, WORDS, [0.1])[1] for x in (small, large))
    both = unseen_shares(Toy(), small + large, WORDS, [0.1])[1]
    assert both == pytest.approx([(one[0] + two[0]) / 2])


@pytest.mark.parametrize("seen", [None, (True, True, True), (False, False, False)])
def test_marks_of_both_kinds_are_asked_for(seen):
    words = Vocabulary.parse("sky; tree; cat, kitten")
    words = words if seen is None else type(words)(**{**vars(words), "seen": seen})
    with pytest.raises(ValueError, match=r"vocabulary.seen: expected marks.*DATASETS.TEST"):
        unseen_shares(Toy(), images(), words, [0.0])


def test_a_real_model_is_left_as_it_was(tmp_path):
    register(tmp_path)
    torch.manual_seed(0)
    model = CEL(tiny_cel_cfg(MODEL__CEL__SEEN_OFFSET=0.03)).eval()
    state = {name: x.clone() for name, x in model.state_dict().items()}
    picture = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    tower, shares = unseen_shares(model, [{"image": picture}], WORDS, [0.0, 0.03, 2.0])
    with torch.no_grad():
        (out,) = model([{"image": picture, "vocabulary": WORDS}])
    labels = out["sem_seg"].argmax(0)
    assert shares[1] == pytest.approx((labels == CAT).float().mean().item(), abs=1e-6)
    assert shares[2] == 1.0 and 0 <= tower <= 1
    assert model.scoring.seen_offset == 0.03
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
