"""Segment fresh scenes of the small world with names that had no mask in training; and a photo.

Run from the project folder: python -m demo.small_world [--scenes 6] [--seed 0] [--output DIR]

The small world is a generator of pictures, and the model that ships was trained on nothing else: it
shows that the program works, not how well full-size weights do on photographs. Every scene is drawn
here and now, from seeds that neither training nor evaluation used. Its vocabulary holds all class
names, seen and unseen, and one attribute phrase for a thing in the scene, such as "striped red
star", which competes with the plain name.

The photograph beside them is answered by another network, which was trained on the names of
ImageNet's whole pictures and on no mask; it takes the extra `stseg[photos]`.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from stseg.render import draw_overlay
from stseg.small_world import (
    CLASS_NAMES,
    SEEDS_PER_SPLIT,
    SPLIT_SEEDS,
    UNSEEN_NAMES,
    Phrase,
    Scene,
    render,
)
from stseg.structures import Background, Vocabulary
from stseg.tools.prediction import describe
from stseg.weights import ExtraMissingError

PHOTO = Path(__file__).parent / "photos" / "stop_sign_crossing.jpg"
#: What is asked of it, and below which confidence nothing is.
PHOTO_WORDS, PHOTO_THRESHOLD = "car; street sign; dog; bicycle; person", 0.4
FIRST_SEED = max(SPLIT_SEEDS.values()) + SEEDS_PER_SPLIT


def fresh_scenes(count: int, seed: int) -> list[tuple[Scene, Phrase]]:
    """Scenes with the thing that is asked for by its attributes: an unseen one, not plain."""
    scenes: list[tuple[Scene, Phrase]] = []
    index = 0
    while len(scenes) < count:
        scene = render(FIRST_SEED + seed, index)
        index += 1
        nouns = [phrase.noun for phrase in scene.phrases]
        for phrase in scene.phrases:
            patterned = phrase.pattern not in ("", "plain")
            if patterned and phrase.noun in UNSEEN_NAMES and nouns.count(phrase.noun) == 1:
                scenes.append((scene, phrase))
                break
    return scenes


def share_right(labels: np.ndarray, truth: np.ndarray, names: Sequence[str], asked: int) -> str:
    """Share of pixels that got the right name, of all and of unseen classes, in words.

    Args:
        labels: (H, W) predicted ids; the phrase has the last one.
        truth: (H, W) ids into CLASS_NAMES.
        names: the vocabulary.
        asked: class of the thing the phrase speaks of.
    """
    phrase_id = len(names) - 1
    right = (labels == truth) | ((labels == phrase_id) & (truth == asked))
    unseen = np.isin(truth, [CLASS_NAMES.index(name) for name in UNSEEN_NAMES])
    thing = truth == asked
    found = (labels == phrase_id)[thing].mean()
    return (
        f"right: {right.mean():.0%} of all pixels, {right[unseen].mean():.0%} of those of unseen "
        f"names; {found:.0%} of the {names[asked]} called {names[phrase_id]!r}"
    )


def overview(scenes: Sequence[np.ndarray], overlays: Sequence[np.ndarray]) -> np.ndarray:
    """Every scene beside its overlay, one pair a row, in one (H, W, 3) uint8 picture."""
    rows = []
    for scene, overlay in zip(scenes, overlays, strict=True):
        side = overlay.shape[0]
        plain = Image.fromarray(scene).resize((side, side), Image.Resampling.NEAREST)
        rows.append(np.concatenate([np.asarray(plain), overlay], axis=1))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, [(0, 4), (0, width - row.shape[1]), (0, 0)]) for row in rows]
    return np.concatenate(rows)


def segment_photograph(config: str, output: Path) -> None:
    """One photograph with its overlay, or how to get it.

    Args:
        config: of the network for photographs.
        output: folder.
    """
    from stseg.predictor import Predictor

    try:
        predictor = Predictor(config)
    except ExtraMissingError as error:
        print(f"no photograph: {error}")
        return
    background = Background.threshold(PHOTO_THRESHOLD)
    result = predictor(PHOTO, Vocabulary.parse(PHOTO_WORDS, background=background))
    result.save(output, "photograph")
    print(f"{output / 'photograph_overlay.jpg'}: {PHOTO}, {describe(result)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, segment, write, and say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=6, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes")
    parser.add_argument("--output", type=Path, default=Path("output/small_world"), metavar="DIR")
    parser.add_argument("--config-file", default="stseg_mini", metavar="YAML")
    parser.add_argument("--photo-config", default="photo_mini", metavar="YAML")
    args = parser.parse_args(argv)
    if args.scenes < 1:
        parser.error(f"--scenes: expected 1 or more, got {args.scenes}.")
    if not 0 <= args.seed < SEEDS_PER_SPLIT:
        parser.error(f"--seed: expected 0 to {SEEDS_PER_SPLIT - 1}, got {args.seed}.")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from stseg.predictor import Predictor

    predictor = Predictor(args.config_file)
    print(f"names never seen with a mask: {', '.join(UNSEEN_NAMES)}")
    pictures = args.output / "scenes"
    pictures.mkdir(parents=True, exist_ok=True)
    scenes = fresh_scenes(args.scenes, args.seed)
    overlays = []
    for number, (scene, phrase) in enumerate(scenes, start=1):
        path = pictures / f"scene_{number}.png"
        Image.fromarray(scene.image).save(path)
        words = f"{phrase.pattern} {phrase.colour} {phrase.noun}"
        vocabulary = Vocabulary.from_names([*CLASS_NAMES, words])
        result = predictor(scene.image, vocabulary)
        result.save(args.output, path.stem)
        overlays.append(draw_overlay(scene.image, result.label_map, result.names))
        asked = CLASS_NAMES.index(phrase.noun)
        print(f"{args.output / path.stem}_overlay.jpg: {describe(result)}")
        print(f"  {share_right(result.label_map, scene.label_map, result.names, asked)}")
    sheet = args.output / "overview.jpg"
    Image.fromarray(overview([scene.image for scene, _ in scenes], overlays)).save(sheet)
    print(f"{sheet}: all scenes beside their overlays, with legends")
    segment_photograph(args.photo_config, args.output)
    print(f"wrote {args.scenes} scenes to {pictures} and, for each, label map, overlay and table")
    print(f'try your own words: .venv/bin/stseg predict {pictures} "..." --config stseg_mini')
    return 0


if __name__ == "__main__":
    sys.exit(main())
