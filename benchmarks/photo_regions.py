"""What a model finds on photographs, at twenty regions that were drawn by hand.

Every photograph of `demo/photos` is asked for all words of `regions.json` at once. A region is a
box around a thing, told by its corners; "share" is how much of it got its word, "right" how many
regions got it on more than half. A box holds some background, so that a share of 100 % is not the
aim. The boxes were drawn by the people who chose the model, which is to say that they are a
development set.

Example:
    python -m benchmarks.photo_regions --config-file configs/mini/photo_mini.yaml
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report_file import markdown_table, origin, write_report

#: Regions by the file of their photograph: "file", "name", "box" (left, top, right, bottom).
Regions = Mapping[str, Sequence[Mapping[str, Any]]]
PHOTOS = Path(__file__).resolve().parents[1] / "demo" / "photos"


def read_regions(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Regions by the file of their photograph."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for region in json.loads((folder / "regions.json").read_text(encoding="utf-8")):
        found[region["file"]].append(region)
    return dict(found)


def words_of(regions: Regions) -> list[str]:
    """All words of all regions, in order."""
    return sorted({region["name"] for found in regions.values() for region in found})


def measure(
    predictor: Any, folder: Path, regions: Regions, words: Sequence[str]
) -> list[dict[str, Any]]:
    """The share of each region that got its word.

    Args:
        predictor: image file and words to a `Segmentation`.
        folder: of the photographs.
        regions: see `read_regions`.
        words: that are asked for on each of them.
    """
    from stseg import Vocabulary

    vocabulary, rows = Vocabulary.from_names(words), []
    for file, found in regions.items():
        answer = predictor(folder / file, vocabulary)
        for region in found:
            left, top, right, bottom = region["box"]
            share = answer[region["name"]][top:bottom, left:right].mean()
            rows.append({"file": file, "name": region["name"], "share": float(share)})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="configs/mini/photo_mini.yaml", metavar="FILE")
    add("--weights", metavar="FILE", help="instead of MODEL.WEIGHTS")
    add("--photos", type=Path, default=PHOTOS, metavar="DIR")
    add("--json", type=Path, metavar="FILE")
    add("opts", nargs="*", metavar="KEY VALUE", help="config keys to change")
    args = parser.parse_args(argv)
    if not (args.photos / "regions.json").is_file():
        parser.error(f"--photos: expected a folder with regions.json, got {args.photos}.")
    from stseg import Predictor
    from stseg.config import setup_cfg

    predictor = Predictor(setup_cfg(args.config_file, args.opts), weights=args.weights)
    regions = read_regions(args.photos)
    rows = measure(predictor, args.photos, regions, words_of(regions))
    mean = sum(row["share"] for row in rows) / len(rows)
    right = sum(row["share"] > 0.5 for row in rows)
    lines = [[row["file"], row["name"], f"{row['share']:.0%}"] for row in rows]
    print(markdown_table(["photograph", "word", "share"], lines))
    print(f"\nright: {right} of {len(rows)}; mean share {mean:.1%}")
    told = origin("benchmarks.photo_regions", sys.argv[1:] if argv is None else list(argv))
    write_report(args.json, {**told, "right": right, "mean_share": mean, "regions": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
