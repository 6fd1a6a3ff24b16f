"""Train CLIP-mini on image-caption pairs of the small world, on a CPU or a GPU.

    python -m stseg.small_world.clip_training train --out DIR [--steps N --seed S --model vit_mini]
    python -m stseg.small_world.clip_training evaluate --weights FILE [--split dev --count N]

The model is a ConvNeXt; `vit_mini` is a ViT for systems that put queries into CLIP, such as EBSeg.
The training reads captions only; no mask is used. It starts with pictures of one large thing and
goes on with scenes. Every step draws from a generator of its own, seeded by (seed, step), so a run
that was killed goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from stseg.engine import parse_stepwise
from stseg.small_world.recipes import CaptionRecipe


def main(argv: Sequence[str] | None = None) -> None:
    """Command line, see the module's head."""
    args = parse_stepwise(
        "stseg.small_world.clip_training", __doc__, CaptionRecipe(), 100, argv, ("dev", "val")
    )
    from stseg.engine import run_command
    from stseg.small_world.caption_trainer import CaptionTrainer, judge_weights

    run_command(args, CaptionTrainer, judge_weights)


if __name__ == "__main__":
    main()
