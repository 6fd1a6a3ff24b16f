"""Templates chosen per class: every channel keeps its place, and the class moves to its experts."""

import pytest
import torch
from torch.nn import functional as F

from stseg.checkpoint import WeightFacts
from stseg.modeling.meta_arch import STSeg
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from stseg.modeling.text.experts import LatestExperts, moved_to_experts
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import register, tiny_cfg

TEMPLATES = ("a {}.", "one {}.", "the {}.")
WORDS = Vocabulary.parse("cat, kitten; dog; bird")
DOG = ((("dog",), ("the {}.",)),)


@pytest.fixture
def embeddings():
    torch.manual_seed(0)
    embeds = F.normalize(torch.randn(1, 1, 64) + 0.2 * torch.randn(4, 3, 64), dim=-1)
    return ClassEmbeddings(embeds, torch.tensor([0, 0, 1, 2]), 3)


def test_a_class_is_moved_to_the_mean_of_its_experts_and_its_templates_stay_apart(embeddings):
    before = embeddings.embeds.clone()
    moved = moved_to_experts(embeddings, {0: [2], 1: [0, 2]})
    assert torch.equal(embeddings.embeds, before)
    assert torch.equal(moved.embeds[3], before[3])  # the third class has no choice
    for row, rows in ((0, [2]), (1, [2]), (2, [0, 2])):
        wanted = before[row, rows].mean(0)
        near = F.cosine_similarity(moved.embeds[row].mean(0), wanted, dim=0)
        assert near > 0.999 > F.cosine_similarity(before[row].mean(0), wanted, dim=0)
        apart = before[row] - before[row].mean(0)
        found = moved.embeds[row] - moved.embeds[row].mean(0)
        assert (F.cosine_similarity(found, apart, dim=-1) > 0.95).all()
    torch.testing.assert_close(moved.embeds.norm(dim=-1), torch.ones(4, 3))


def test_a_choice_goes_by_names_and_texts_whatever_their_order(embeddings):
    experts = LatestExperts()
    moved = experts.of(embeddings, WORDS.synonyms, TEMPLATES, DOG).embeds
    assert [bool((a != b).any()) for a, b in zip(moved, embeddings.embeds, strict=True)] == [
        *(False, False, True, False)
    ]
    turned = ClassEmbeddings(embeddings.embeds.flip(1), embeddings.class_index, 3)
    other = experts.of(turned, WORDS.synonyms, TEMPLATES[::-1], DOG).embeds
    torch.testing.assert_close(other.flip(1), moved)


@pytest.mark.parametrize(
    "choice",
    [
        ((("dog", "puppy"), ("the {}.",)),),  # of a class with other names
        ((("cat",), ("the {}.",)),),
        ((("dog",), ("no {}.", "the {}.")),),  # of a model with other templates
    ],
)
def test_other_names_and_other_templates_leave_all(embeddings, choice):
    found = LatestExperts().of(embeddings, WORDS.synonyms, TEMPLATES, choice)
    assert torch.equal(found.embeds, embeddings.embeds)


def test_a_vocabulary_is_moved_once_and_again_for_other_classes_or_another_choice(embeddings):
    experts = LatestExperts()
    first = experts.of(embeddings, WORDS.synonyms, TEMPLATES, DOG)
    assert experts.of(embeddings, WORDS.synonyms, TEMPLATES, DOG) is first
    apart = Vocabulary.parse("cat; kitten; dog; bird").synonyms  # the very same rows
    rows = ClassEmbeddings(embeddings.embeds, torch.arange(4), 4)
    assert experts.of(rows, apart, TEMPLATES, DOG).num_classes == 4
    one = ((("dog",), ("one {}.",)),)
    other = experts.of(embeddings, WORDS.synonyms, TEMPLATES, one)
    assert not torch.equal(other.embeds, first.embeds)


def test_a_model_goes_by_the_choice_of_its_weights_in_answers_and_in_training(tmp_path):
    register(tmp_path)
    torch.manual_seed(0)
    changes = {"MODEL__STSEG__DEA__ENABLED": False, "MODEL__TEXT__TEMPLATES": list(TEMPLATES)}
    model = STSeg(tiny_cfg(**changes)).eval()
    item = {"image": 255 * torch.rand(3, 64, 64), "vocabulary": WORDS, "height": 64, "width": 64}
    with torch.inference_mode():
        (plain,) = model([item])
        model.facts = WeightFacts(templates=DOG)
        (moved,) = model([item])
        model.facts = WeightFacts()
        (back,) = model([item])
    assert not torch.equal(plain["sem_seg"], moved["sem_seg"])
    assert torch.equal(plain["sem_seg"], back["sem_seg"])
    # What was made for an answer serves training.
    model.facts = WeightFacts(templates=DOG)
    labelled = {**item, "sem_seg": torch.zeros(64, 64, dtype=torch.int64)}
    sum(model.train()([labelled]).values()).backward()
    assert model.head.embed.weight.grad.abs().sum() > 0
