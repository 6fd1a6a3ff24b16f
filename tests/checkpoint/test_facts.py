"""What lies beside weights in a file: how sure they may be, and what they learnt."""

import pytest
import torch

from stseg.checkpoint import AnswersDigest, Checkpointer, WeightFacts, load_for_evaluation
from tests.helpers.systems import CaptionFake, QueryFake

CHOSEN = ((("cat", "kitten"), ("a {}.", "one {}.")),)
FACTS = WeightFacts(1.5, (("cat", "kitten"), ("dog",)), CHOSEN)


def test_facts_travel_with_every_file_of_a_run(tmp_path):
    model = QueryFake()
    model.facts = FACTS
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("model_final")
    checkpointer.write("model_best", {"model": model.state_dict()})
    for name in ("model_final", "model_best"):
        other = QueryFake()
        load_for_evaluation(other, str(tmp_path / f"{name}.pth"))
        assert other.facts == FACTS


def test_a_file_without_facts_takes_away_those_of_other_weights(tmp_path):
    torch.save({"model": QueryFake().state_dict()}, tmp_path / "bare.pth")
    model = QueryFake()
    model.facts = FACTS
    load_for_evaluation(model, "random")  # the weights stay, and what is known of them
    assert model.facts == FACTS
    load_for_evaluation(model, str(tmp_path / "bare.pth"))
    assert model.facts == WeightFacts() and WeightFacts().beside() == {}


def test_answers_depend_on_facts():
    model = QueryFake()
    before = AnswersDigest().of(model)
    model.facts = WeightFacts(temperature=1.5)
    assert AnswersDigest().of(model) != before
    model.facts = WeightFacts(trained_on=(("cat",),))
    assert AnswersDigest().of(model) != before  # it asks which classes had labels
    without = AnswersDigest().of(model)
    model.facts = WeightFacts(trained_on=(("cat",),), templates=CHOSEN)
    assert AnswersDigest().of(model) != without
    model.facts = WeightFacts(trained_on=(("cat",),))
    other = CaptionFake()
    before = AnswersDigest().of(other)
    other.facts = model.facts
    assert AnswersDigest().of(other) == before


def test_without_a_choice_files_and_labels_are_those_of_before_there_was_one():
    facts = WeightFacts(1.5, (("cat",),))
    assert facts.beside() == {"facts": {"temperature": 1.5, "trained_on": (("cat",),)}}
    assert WeightFacts.of(facts.beside()) == facts


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(ValueError, match="temperature: expected a finite number above 0"):
        WeightFacts(temperature)
