"""Train the text tower of CLIP-photo, on names and definitions alone, on a CPU or a GPU.

    python -m stseg.photo_clip.noun_training train --out DIR [--steps N --held-out SHARE]
    python -m stseg.photo_clip.noun_training evaluate --weights FILE

It sends texts to where a network of ImageNet has its 1,000 classes (see `trunk`). What it learns
from are timm's tables of names and definitions: names and definitions of the classes go to their
class; words that these use, such as "dog", to all classes that do; the other 20,000 nouns of
ImageNet to the classes whose texts they share rare words with, and each to its own definition. No
picture is looked at. Some names of the classes are held out, as names of any noun, and tell how
open the tower is; a definition may still use such a word. Every step draws from a generator of its
own, seeded by (seed, step), so a run that was killed goes on from its last checkpoint as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from stseg.engine import parse_stepwise
from stseg.photo_clip.recipe import NounRecipe


def main(argv: Sequence[str] | None = None) -> None:
    """Command line, see the module's head."""
    args = parse_stepwise("stseg.photo_clip.noun_training", __doc__, NounRecipe(), 60, argv)
    from stseg.engine import run_command
    from stseg.photo_clip.noun_trainer import NounTrainer, judge_weights

    run_command(args, NounTrainer, judge_weights)


if __name__ == "__main__":
    main()
