"""Figures of the ablation over seeds: mean, spread, gains, paired intervals, and their tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

#: Our short names of what the evaluator reports, mIoU in percent.
METRICS = {"all": "mIoU", "seen": "seen mIoU", "unseen": "unseen mIoU"}

#: Student's t, two-sided 95 %, of 1, 2, ... degrees of freedom; beyond the last that is safe.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)

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


def interval(differences: Sequence[float]) -> dict[str, float]:
    """Mean of at least one difference between runs of one seed, and its 95 % t interval.

    Seeds are the sample: the interval says what other seeds would give on the same images. Of one
    difference its ends are NaN.
    """
    mean, n = statistics.fmean(differences), len(differences)
    half = math.nan
    if n > 1:
        t = T_95[min(n - 2, len(T_95) - 1)]
        half = t * statistics.stdev(differences) / math.sqrt(n)
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": n}


def paired(
    rows: Mapping[str, PerSeed], pairs: Sequence[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """Intervals of some rows minus others, over the seeds that both have.

    Args:
        rows: {row: {seed: figures}}.
        pairs: (row, the other).

    Returns:
        {"row - other": {metric: interval}}; pairs without a common seed are left out.
    """
    found = {}
    for row, other in pairs:
        shared = sorted(set(rows[row]) & set(rows[other]))
        if shared:
            found[f"{row} - {other}"] = {
                m: interval([rows[row][s][m] - rows[other][s][m] for s in shared]) for m in METRICS
            }
    return found


def verdict(difference: Mapping[str, float]) -> str:
    """What an interval shows: "more", "less" or "no difference shown"."""
    if difference["low"] > 0:
        return "more"
    return "less" if difference["high"] < 0 else "no difference shown"


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


def paired_markdown(intervals: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The table of `paired`: mean [95 % interval], and what the one of all classes shows."""
    heads = ["difference", *METRICS, "seeds", "all"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for pair, found in intervals.items():
        cells = [_interval_cell(found[metric]) for metric in METRICS]
        everything = found["all"]
        cells += [str(everything["seeds"]), verdict(everything)]
        lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _interval_cell(value: Mapping[str, float]) -> str:
    mean = f"{value['mean']:+.2f}"
    return (
        mean if math.isnan(value["low"]) else f"{mean} [{value['low']:+.2f}, {value['high']:+.2f}]"
    )


def _cell(value: Mapping[str, float] | None, sign: str = "") -> str:
    if value is None:
        return ""
    text = f"{value['mean']:{sign}.2f}"
    if math.isnan(value["std"]):
        return text
    return f"{text} ± {value['std']:.2f} ({value['range']:.2f})"
