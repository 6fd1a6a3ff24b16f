"""What belongs to weights and is no tensor of them; it lies beside them in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class WeightFacts:
    """Facts about trained weights, a model's `facts`.

    Attributes:
        temperature: above 0, of the confidences, see `stseg.modeling.scores.calibrated`; 1 leaves
            them as the network gives them.
        trained_on: names of the classes that had labels in training, a tuple per class; () where
            not known.
        templates: a tuple per class for which some of the templates were chosen, of its names and
            of those templates, texts of MODEL.TEXT.TEMPLATES; classes of other names have all. See
            `stseg.modeling.text.LatestExperts`.
    """

    temperature: float = 1.0
    trained_on: tuple[tuple[str, ...], ...] = ()
    templates: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature: expected a finite number above 0, got {self.temperature}."
            )

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> WeightFacts:
        """Read what `beside` put into a checkpoint; without it nothing is known."""
        facts = content.get("facts", {})
        names = tuple(tuple(group) for group in facts.get("trained_on", ()))
        chosen = tuple((tuple(x), tuple(texts)) for x, texts in facts.get("templates", ()))
        return cls(float(facts.get("temperature", 1.0)), names, chosen)

    def beside(self) -> dict[str, Any]:
        """An entry of a checkpoint, plain values; {} where nothing is known."""
        facts = asdict(self)
        if not self.templates:  # as files, and digests of labels, were before there was a choice
            del facts["templates"]
        return {} if self == WeightFacts() else {"facts": facts}
