"""Train SAM-mini on regions of the small world, without their names, on a CPU or a GPU.

    python -m stseg.small_world.sam_training train --out DIR [--steps N --seed S]
    python -m stseg.small_world.sam_training evaluate --weights FILE [--split dev --count N]

As SAM (Kirillov et al., ICCV 2023): points, boxes and masks as prompts, three answers of which the
best one learns, and a head that foretells each answer's IoU. Unlike SAM, the mask prompts are rough
masks as a main branch makes them, so that repairing them is learned and not only keeping them.
The image encoder learns regions first, then the decoder learns on it, then both together.
Every step draws from a generator of its own, seeded by (seed, step), so a run that was killed goes
on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from stseg.engine import parse_stepwise
from stseg.small_world.recipes import PromptRecipe


def main(argv: Sequence[str] | None = None) -> None:
    """Command line, see the module's head."""
    args = parse_stepwise(
        "stseg.small_world.sam_training", __doc__, PromptRecipe(), 30, argv, ("dev", "val")
    )
    from stseg.engine import run_command
    from stseg.small_world.prompt_trainer import PromptTrainer, judge_weights

    run_command(args, PromptTrainer, judge_weights)


if __name__ == "__main__":
    main()
