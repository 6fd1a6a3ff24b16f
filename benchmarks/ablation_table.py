"""Figures of the ablation over seeds: mean, spread, gains over the baseline, and their table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

#: Our short names of what the evaluator reports, mIoU in percent.
METRICS = {"all": "mIoU", "seen": "seen mIoU", "unseen": "unseen mIoU"}

Figures = Mapping[str, float]  # short name -> percent
PerSeed = Mapping[int, Figures]


def read_figures(results: Mapping[str, Any], dataset: str) -> dict[str, float]:
    """Take the three figures out of a run's results.json.

    Raises:
        ValueError: if the set was not evaluated there, or a figure is missing or no number.
    """
    found = results.get(dataset, {}).get("sem_seg", {})
    figures = {short: found.get(key) for short, key in METRICS.items()}
    for short, value in figures.items():
        if value is None or not math.isfinite(value):
            raise ValueError(
                f"results.json: expected {METRICS[short]!r} of {dataset}, got {value!r} among the "
                f"sets {', '.join(results) or '(none)'}."
            )
    return {short: float(value) for short, value in figures.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation and largest minus smallest of at least one number.

    The standard deviation of one number is NaN: nothing is known of it.
    """
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else math.nan,
        "range": max(values) - min(values),
        "min": min(values),
    }


def summarise(rows: Mapping[str, PerSeed], baseline: str) -> dict[str, Any]:
    """Spread of every row, and of its gain over the baseline of the same seed.

    Args:
        rows: {row: {seed: figures}}; rows without any seed are left out.
        baseline: key of the row to compare with.

    Returns:
        {row: {"seeds": [...], "figures": {metric: spread}, "gain": {metric: spread}}}; a gain
        counts seeds that both rows have, and is {} without any.
    """
    summary = {}
    for row, seeds in rows.items():
        if not seeds:
            continue
        shared = sorted(set(seeds) & set(rows.get(baseline, {})))
        gains = {
            metric: spread([seeds[s][metric] - rows[baseline][s][metric] for s in shared])
            for metric in METRICS
            if shared
        }
        summary[row] = {
            "seeds": sorted(seeds),
            "figures": {m: spread([f[m] for f in seeds.values()]) for m in METRICS},
            "gain": {} if row == baseline else gains,
        }
    return summary


def markdown(
    summary: Mapping[str, Any], titles: Mapping[str, str], notes: Mapping[str, str]
) -> str:
    """The table for a README: mean ± standard deviation (largest minus smallest).

    Args:
        summary: from `summarise`.
        titles: of the rows, in the order of the table.
        notes: last column, by row; may lack rows.
    """
    heads = [*METRICS, *(f"gain {metric}" for metric in METRICS), "seeds", "verdicts"]
    lines = ["| row | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row, title in titles.items():
        if row not in summary:
            continue
        entry = summary[row]
        cells = [_cell(entry["figures"][metric]) for metric in METRICS]
        cells += [_cell(entry["gain"].get(metric), sign="+") for metric in METRICS]
        cells += [str(len(entry["seeds"])), notes.get(row, "")]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float] | None, sign: str = "") -> str:
    if value is None:
        return ""
    text = f"{value['mean']:{sign}.2f}"
    if math.isnan(value["std"]):
        return text
    return f"{text} ± {value['std']:.2f} ({value['range']:.2f})"
