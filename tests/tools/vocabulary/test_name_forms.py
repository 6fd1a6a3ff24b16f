import pytest

from stseg.tools.vocabulary.name_forms import (
    has_unseen,
    leading_article,
    plain_form,
    singular_form,
)


@pytest.mark.parametrize(
    "name",
    ["traffic light", "Traffic-Light", "traffic_light", " traffic\u00a0 light.",
     "traf\u200bfic light", "\uff54raffic light", "traffic\u2010light"],
)  # fmt: skip
def test_spellings_of_one_name_have_one_form(name):
    assert plain_form(name) == "traffic light"


@pytest.mark.parametrize(
    ("plural", "singular"),
    [("wine glasses", "wine glass"), ("boxes", "box"), ("shanties", "shanty"), ("cars", "car"),
     ("benches", "bench"), ("glass", "glass"), ("bus", "bus"), ("tennis", "tennis"), ("tie", "tie"),
     ("horses", "horse"), ("gas", "gas"), ("Cats", "cat")],
)  # fmt: skip
def test_plurals(plural, singular):
    assert singular_form(plural) == singular


def test_articles_and_what_nobody_sees():
    assert [leading_article(n) for n in ("a cat", "The sky", "an", "atlas", "A/C unit")] == [
        "a", "The", "", "", ""]  # fmt: skip
    assert has_unseen("c\u200bat") and not has_unseen("cat")
