"""The figures of `benchmarks.ebseg` as Markdown, and what they say of each other."""

from collections.abc import Sequence

from benchmarks.report_file import markdown_table

OURS = "stseg"
#: Share of the greatest score that another order of sums may change, and of pixels with other
#: labels: that of the reference arrays for a whole model, and where two classes are that close.
TOLERANCE, CHANGED = 1e-4, 1e-3


def ratios(rows: Sequence[dict]) -> list[dict]:
    """Figures of other sides over ours, by number of names and kind of numbers."""
    result = []
    for ours in (row for row in rows if row["side"] == OURS):
        for other in rows:
            place = [(row["names"], row["dtype"]) for row in (ours, other)]
            if other["side"] == OURS or place[0] != place[1]:
                continue
            keys = {"cpu": "cpu_s", "best": "best_s", "peak": "peak_mib", "added": "added_mib"}
            found = {name: other[key] / max(ours[key], 1e-9) for name, key in keys.items()}
            kept = {key: ours[key] for key in ("names", "dtype")}
            result.append({**kept, "side": other["side"], **found})
    return result


def growths(rows: Sequence[dict]) -> list[dict]:
    """How many times the memory of the fewest names the most need."""
    result = []
    for side, dtype in dict.fromkeys((row["side"], row["dtype"]) for row in rows):
        found = {r["names"]: r for r in rows if (r["side"], r["dtype"]) == (side, dtype)}
        low, high = min(found), max(found)
        if low < high:
            grown = {
                name: found[high][f"{name}_mib"] / max(found[low][f"{name}_mib"], 1e-9)
                for name in ("peak", "added")
            }
            result.append({"side": side, "dtype": dtype, "from": low, "to": high, **grown})
    return result


def tables(report: dict) -> str:
    """All tables, parted by empty lines."""
    size, threads = report["image_size"], report["threads"]
    found = [
        f"EBSeg, ViT-B/16 and SAM ViT-B, {size} x {size}, {threads} threads, torch "
        f"{report['torch']}, best of {report['repeats']}.",
        _whole(report["rows"]),
        f"Scores differ from those of the first side by at most {TOLERANCE:g} of the greatest, "
        f"labels at {100 * CHANGED:g} % of the pixels, where other orders of sums are all.",
        _ratios(report["ratios"]),
        *(
            f"Memory of {x['side']}, {x['dtype']}, from {x['from']} to {x['to']} names: peak "
            f"{x['peak']:.2f} times, added {x['added']:.2f} times."
            for x in report["growth"]
        ),
    ]
    for side, dtype in dict.fromkeys((row["side"], row["dtype"]) for row in report["rows"]):
        rows = [r for r in report["rows"] if (r["side"], r["dtype"]) == (side, dtype)]
        found += [f"Parts of {side}, {dtype}: seconds (share of the forward).", _parts(rows)]
    return "\n\n".join(found) + "\n"


def _whole(rows: Sequence[dict]) -> str:
    heads = ["names", "dtype", "side", "CPU s", "best s", "median s", "peak MiB", "added MiB"]
    heads += ["scores apart", "mean", "labels apart", "classes", "within"]
    lines = []
    for row in rows:
        times = [f"{row[key]:.2f}" for key in ("cpu_s", "best_s", "median_s")]
        memory = [f"{row[key]:.0f}" for key in ("peak_mib", "added_mib")]
        apart = _apart(row["difference"])
        lines.append([row["names"], row["dtype"], row["side"], *times, *memory, *apart])
    return markdown_table(heads, lines)


def _apart(found: dict | None) -> list[str]:
    if found is None:
        return ["-"] * 5
    within = found["largest"] <= TOLERANCE and found["changed"] <= CHANGED
    numbers = [f"{found['largest']:.1e}", f"{found['mean']:.1e}", f"{100 * found['changed']:.3f}%"]
    return [*numbers, str(found["classes"]), "yes" if within else "no"]


def _ratios(entries: Sequence[dict]) -> str:
    heads = ["names", "dtype", "side", "CPU time", "time", "peak memory", "added memory"]
    lines = [
        [x["names"], x["dtype"], x["side"]]
        + [f"{x[key]:.2f}x" for key in ("cpu", "best", "peak", "added")]
        for x in entries
    ]
    return "Others over ours:\n\n" + markdown_table(heads, lines)


def _parts(rows: Sequence[dict]) -> str:
    labels = dict.fromkeys(label for row in rows for label in row["parts"])
    lines = []
    for label in labels:
        line = [label]
        for row in rows:
            seconds = row["parts"].get(label, {}).get("seconds")
            share = 0 if seconds is None else seconds / row["best_s"]
            line.append("-" if seconds is None else f"{seconds:.2f} ({100 * share:.0f}%)")
        lines.append(line)
    return markdown_table(["part", *(f"N={row['names']}" for row in rows)], lines)
