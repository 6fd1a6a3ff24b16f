"""How near names are to CLIP's text tower, as a file for the open figures of an evaluation.

Example:
    python -m stseg.tools.name_similarity --config-file configs/stseg/sed_convnextB_768.yaml \
        --names names.json --output near.npy
    python -m stseg.evaluation score ... --similarity near.npy
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stseg.evaluation import read_similarity, similarity
from stseg.structures import Vocabulary
from stseg.utils import check_output, write_atomically

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


def name_similarity(
    cfg: CfgNode, vocabulary: Vocabulary, floor: float | None = None
) -> tuple[np.ndarray, float]:
    """Cosines between classes, each the mean of its names under all templates.

    Args:
        cfg: MODEL.CLIP and MODEL.TEXT choose the tower.
        vocabulary: N classes.
        floor: cosine in [0, 1) that counts as unrelated; None takes the median of all pairs, so
            that half of them get no credit.

    Returns:
        What `stseg.evaluation.similarity` makes of them, (N, N) float64 in [0, 1], and the floor.

    Raises:
        ValueError: if the floor is off.
    """
    from stseg.modeling.encoders import create_clip
    from stseg.modeling.text import build_text_encoder

    clip = create_clip(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED)
    encoder = build_text_encoder(cfg, clip).to(cfg.MODEL.DEVICE)
    embeds = encoder(vocabulary).mean_over_synonyms().embeds.mean(dim=1).cpu().numpy()
    if floor is None:
        cosine = similarity(embeds)
        pairs = cosine[~np.eye(len(cosine), dtype=bool)]
        floor = float(np.median(pairs)) if pairs.size else 0.0
    return similarity(embeds, floor), floor


def is_similarity(path: Path) -> bool:
    """Whether a file holds what this command writes."""
    try:
        read_similarity(path)
    except (ValueError, TypeError, OSError):
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Command line, see `--help`; returns 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="whose CLIP reads the names")
    add("--names", required=True, metavar="NAMES", help='"a; b", or a .txt or .json file')
    add("--floor", type=float, metavar="COSINE", help="cosine in [0, 1) that counts as unrelated;"
        " default: the median of all pairs")  # fmt: skip
    add("--output", required=True, type=Path, metavar="FILE", help=".npy file to write")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")
    args = parser.parse_args(argv)
    from stseg.config import setup_cfg

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    inputs = {"--names": args.names, "--config-file": args.config_file}
    check_output(args.output, "--output", inputs, is_similarity)
    vocabulary = Vocabulary.parse(args.names)
    near, floor = name_similarity(setup_cfg(args.config_file, args.opts), vocabulary, args.floor)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, lambda file: np.save(file, near))
    order = np.argsort(-np.triu(near, 1), axis=None)[:5]
    pairs = [np.unravel_index(at, near.shape) for at in order]
    names = vocabulary.names
    logger.info("%d names, %.3f counts as unrelated. Nearest pairs:", len(names), floor)
    for i, j in pairs:
        if near[i, j] > 0 and i != j:
            logger.info("  %.3f  %s, %s", near[i, j], names[i], names[j])
    return 0


if __name__ == "__main__":
    sys.exit(main())
