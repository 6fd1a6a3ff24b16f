"""What a text tower cuts off tells no classes apart."""

import logging

import open_clip
import pytest

from stseg.modeling.text.lengths import check_lengths
from tests.helpers.tiny_model import CLIP_NAME

HEAD = " ".join(["a thing that one sees outdoors on a bright day with few clouds"] * 8)


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer(CLIP_NAME)


def check(tokenizer, *classes, templates=("a photo of a {}.", "{}")):
    check_lengths([[(name,) for name in names] for names in classes], tokenizer, templates)


@pytest.mark.parametrize(
    "classes",
    [
        ([f"{HEAD} a star"], [f"{HEAD} grass"]),
        (["cat", f"{HEAD} a star"], ["dog"], ["cow", f"{HEAD} grass"]),
        (["the word " * 90 + "x"], ["the word " * 90 + "y"]),
        (["红" * 90 + "一"], ["红" * 90 + "二"]),
        (["salt &amp; pepper"], ["salt & pepper"]),
    ],
)
def test_classes_that_are_one_text_to_the_tower_are_refused(tokenizer, classes):
    with pytest.raises(ValueError, match=r"class 2|class 3.*77 tokens.*of class 1"):
        check(tokenizer, *classes)


def test_a_name_that_is_cut_off_is_told_once_and_does_no_harm(tokenizer, caplog):
    check(tokenizer, [f"{HEAD} a star", f"{HEAD} a moon"], ["grass"])
    assert "reads 77 tokens" in caplog.text and "grass" not in caplog.text


def test_what_differs_in_front_is_enough(tokenizer):
    check(tokenizer, [f"star, {HEAD}"], [f"grass, {HEAD}"])


def test_one_name_in_two_classes_is_the_lists_own_business(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        check(tokenizer, ["bag"], ["bag", "handbag"])
    assert not caplog.text
