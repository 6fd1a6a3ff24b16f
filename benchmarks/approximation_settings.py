"""Ways to answer that `benchmarks.approximations` tries, as its command line names them."""

import argparse
from dataclasses import dataclass

TRIED = ("rank=16", "rank=8", "rank=4", "rank=2", "rank=1", "dtype=bf16")
CHANGES = {"rank": int, "dtype": str, "sam": int}


@dataclass(frozen=True)
class Setting:
    """One way to answer; None leaves the model's own.

    Attributes:
        title: as it was written.
        rank: of the templates.
        dtype: of evaluation.
        sam: side of SAM's image in pixels.
    """

    title: str
    rank: int | None = None
    dtype: str | None = None
    sam: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """Read "rank=8,dtype=bf16"."""
        pairs = [part.partition("=") for part in text.split(",")]
        if any(key not in CHANGES or not value for key, _, value in pairs):
            raise argparse.ArgumentTypeError(
                f"expected such as rank=8, dtype=bf16 or rank=8,sam=768, got {text!r}"
            )
        return cls(text, **{key: CHANGES[key](value) for key, _, value in pairs})
