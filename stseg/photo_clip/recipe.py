"""The recipe of the text tower of CLIP-photo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NounRecipe:
    """What a training depends on; saved, so that a resumed run is the same run."""

    steps: int = 1000
    seed: int = 0
    held_out: float = 0.2  # of the names of the 1,000 classes
    classes: int = 96  # in a step
    told: int = 64
    nouns: int = 96
    lr: float = 2e-3
    warmup: int = 50
    least: int = 2  # times that a token is read to have a row of its own
    rank: int = 64  # of the table of tokens
