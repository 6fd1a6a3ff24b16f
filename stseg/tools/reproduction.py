"""A published figure measured again: weights by name, checked data, both definitions of mIoU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tabulate import tabulate

from stseg.evaluation import Result, read_results
from stseg.tools.verification import OFFICIAL
from stseg.utils import write_atomically
from stseg.weights import Published, catalog, find

#: As papers call a benchmark -> the name it is registered by, and others it may be asked for by.
BENCHMARKS = {
    "A-847": ("ade20k_full_sem_seg_freq_val_all", "ade20k_847"),
    "PC-459": ("context_459_test_sem_seg", "pascal_context_459"),
    "A-150": ("ade20k_150_test_sem_seg", "ade20k_150"),
    "PC-59": ("context_59_test_sem_seg", "pascal_context_59"),
    "PAS-20": ("voc_2012_test_sem_seg", "voc_20"),
    "PAS-20b": ("voc_2012_test_background_sem_seg", "voc_20b"),
}


@dataclass(frozen=True)
class Claim:
    """A published figure.

    Attributes:
        weights: name in the table of weights.
        benchmark: key of BENCHMARKS.
        published: mIoU in percent.
        by: who says so.
        words: ending of the data set's name under whose words it was measured, "" for plain ones.
    """

    weights: str
    benchmark: str
    published: float
    by: str
    words: str = ""

    @property
    def data_set(self) -> str:
        """The name it is registered by."""
        plain = BENCHMARKS[self.benchmark][0]
        return f"{plain}_{self.words}" if self.words else plain


@dataclass(frozen=True)
class Comparison:
    """A claim beside what was measured, mIoU in percent.

    Attributes:
        claim: what was published.
        gt: over the classes in the labels, as Detectron2 computes it today.
        union: over these and classes that were only predicted, as Detectron2's releases do.
        images: scored.
        expected: numbers of images that the whole benchmark has, in its editions.
        verdict: in words.
        good: whether the figure was reproduced.
    """

    claim: Claim
    gt: float
    union: float
    images: int
    expected: tuple[int, ...]
    verdict: str
    good: bool


def claims(name: str = "", benchmarks: Sequence[str] = ()) -> list[Claim]:
    """Published figures of weights that can be read here.

    Args:
        name: of the weights; "" for all.
        benchmarks: as papers call them, as they are registered, or by their vocabulary; all if
            empty.

    Raises:
        ValueError: if there are no such weights, if their system is not built here, or if nobody
            has published their figure on a benchmark.
    """
    if name:
        find(name).config_file()  # says what weights are for that have none
    wanted = [_benchmark(text) for text in benchmarks] or list(BENCHMARKS)
    entries = [find(name)] if name else [entry for entry in catalog().values() if entry.config]
    found = [claim for entry in entries for claim in _claims_of(entry) if claim.benchmark in wanted]
    told = {claim.benchmark for claim in found}
    lacking = [key for key in wanted if key not in told] if benchmarks else []
    if lacking or not found:
        known = ", ".join(find(name).figures) if name and find(name).figures else "none"
        raise ValueError(
            f"{name or '--dataset'}: expected a published figure on "
            f"{', '.join(lacking or wanted)}, got none. Published are: {known}."
        )
    return found


def _claims_of(entry: Published) -> list[Claim]:
    by = entry.figures_by or ""
    return [
        Claim(entry.name, key, figure, by, entry.words.get(key, ""))
        for key, figure in entry.figures.items()
    ]


def _benchmark(text: str) -> str:
    for key, names in BENCHMARKS.items():
        if text.casefold() in (key.casefold(), *names):
            return key
    known = ", ".join(f"{key} ({names[1]})" for key, names in BENCHMARKS.items())
    raise ValueError(f"--dataset: expected one of {known}, got {text!r}.")


def compared(claim: Claim, result: Result, tolerance: float) -> Comparison:
    """The claim beside a result.

    Args:
        claim: what was published.
        result: of the claim's data set.
        tolerance: in percentage points, up to which two figures count as the same.
    """
    gt, union = (100 * result.figures[name] for name in ("mIoU_gt", "mIoU_union"))
    images, expected = result.protocol.num_images, OFFICIAL[BENCHMARKS[claim.benchmark][0]].images
    fits = {
        "reproduced": abs(gt - claim.published) <= tolerance,
        "reproduced, by mIoU_union": abs(union - claim.published) <= tolerance,
    }
    good = images in expected and any(fits.values())
    if images not in expected:
        verdict = f"{images} of {' or '.join(map(str, expected))} images: no verdict"
    elif good:
        verdict = next(words for words, fit in fits.items() if fit)
    else:
        verdict = f"not reproduced: {gt - claim.published:+.1f}"
    return Comparison(claim, gt, union, images, expected, verdict, good)


def compare_run(wanted: Sequence[Claim], folder: Path, tolerance: float) -> list[Comparison]:
    """Claims beside the results of a run; written to `reproduction.json` in its folder.

    Args:
        wanted: claims about one file of weights.
        folder: OUTPUT_DIR of the evaluation.
        tolerance: as in `compared`.
    """
    results = read_results(folder / "results.json")
    rows = [compared(claim, results[claim.data_set], tolerance) for claim in wanted]
    provenance = {name: result.provenance for name, result in results.items()}
    content = {"tolerance": tolerance, "rows": [asdict(row) for row in rows]}
    text = json.dumps({"format": "stseg.reproduction", **content, "provenance": provenance})
    write_atomically(folder / "reproduction.json", text.encode("utf-8"))
    return rows


def comparison_text(rows: Sequence[Comparison]) -> str:
    """A table, and what its columns are."""
    head = ("benchmark", "published", "mIoU", "mIoU_union", "images", "verdict")
    table = [
        (row.claim.benchmark, row.claim.published, row.gt, row.union, row.images, row.verdict)
        for row in rows
    ]
    claim = rows[0].claim
    return (
        tabulate(table, head, "simple", floatfmt=".1f")
        + f"\n\npublished: of {claim.weights}, by {claim.by}\n"
        "mIoU: mean over the classes in the labels, as Detectron2's main branch has it\n"
        "mIoU_union: classes that are only predicted count as 0, as in Detectron2 0.6"
    )
