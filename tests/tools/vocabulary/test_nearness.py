import pytest
import torch

from stseg.modeling.text import ClassEmbeddings
from stseg.structures import Vocabulary
from stseg.tools.vocabulary import lint_with_model


class Tower:
    """Names that begin alike are near; texts of more than eight words are cut."""

    templates = ("{}", "a photo of a {}.")

    def tokenizer(self, texts):
        rows = [[sum(map(ord, word)) for word in text.split()] for text in texts]
        return torch.tensor([(row + [0] * 8)[:8] for row in rows])

    def __call__(self, vocabulary):
        rows = [[ord(name[0].lower()) - 96.0, float(len(name))] for name in vocabulary.names]
        embeds = torch.nn.functional.normalize(torch.tensor(rows), dim=-1)
        index = torch.arange(len(rows))
        return ClassEmbeddings(embeds[:, None].expand(-1, 2, -1), index, len(rows))


def found(names, **more):
    seen = lint_with_model(Vocabulary.parse(names, allow_shared_names=True), Tower(), **more)
    return [(one.subject, one.text) for one in seen]


def test_near_names_of_two_classes_are_told_with_their_cosine():
    assert found("zoo; zip, zig; ant", limit=0.999) == [
        ("near", "'zoo' and 'zip': cosine 1.000"),
        ("near", "'zoo' and 'zig': cosine 1.000"),
    ]
    assert len(found("zoo; zip, zig; ant", limit=-1.0)) == 5
    assert not found("bag, purse; Bag, sock", limit=0.999)  # one name, told without a model


def test_of_many_pairs_the_nearest_are_told_and_the_others_counted():
    names = "; ".join(f"z{letter}" for letter in "abcdefgh")
    *pairs, rest = found(names, limit=0.9)
    assert len(pairs) == 20 and rest == ("near", "8 more pairs of 28 lie above 0.9")


def test_a_name_that_fills_the_text_tower_is_told():
    fits, fills = "one two three", "one two three four"
    seen = found(f"{fits}; {fills}; ant", limit=2.0)
    assert [(subject, text.split("'")[1]) for subject, text in seen] == [("cut", fills)]


@pytest.mark.parametrize("words", [12, 80])
def test_the_real_tokenizer_has_room_for_seventy_words(words):
    import open_clip

    tower = Tower()
    tower.tokenizer = open_clip.get_tokenizer("ViT-B-32")
    name = " ".join(["cat"] * words)
    seen = lint_with_model(Vocabulary.parse([[name], ["z"]]), tower, limit=2.0)
    assert bool(seen) is (words > 70)
