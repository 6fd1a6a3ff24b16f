"""The figures of `benchmarks.inference` as Markdown, and what they say of each other."""

from collections.abc import Sequence

from benchmarks.report_file import markdown_table

FROM = 150  # growth of memory is told from this number of names on


def ratios(rows: Sequence[dict]) -> list[dict]:
    """The reference's figures over ours, where both were measured.

    Returns:
        By number of names and batch: "best", "median", "cpu", "peak" and "added", above 1 where
        ours is the better one, and "difference" of the answers, see `inference_case.compare`.
    """
    found = {(row["side"], row["batch"], row["classes"]): row for row in rows}
    result = []
    for (side, batch, classes), ours in found.items():
        theirs = found.get(("reference", batch, classes))
        if side == "reference" or theirs is None:
            continue
        keys = {"best": "best_s", "median": "median_s", "cpu": "cpu_s"}
        keys |= {"peak": "peak_mib", "added": "added_mib"}
        entry = {name: theirs[key] / max(ours[key], 1e-9) for name, key in keys.items()}
        entry |= {"classes": classes, "batch": batch, "difference": ours.get("difference")}
        result.append(entry)
    return result


def growths(rows: Sequence[dict]) -> list[dict]:
    """How many times as much peak memory the most names need as `FROM` (or the fewest) do."""
    result = []
    for side, batch in dict.fromkeys((row["side"], row["batch"]) for row in rows):
        peaks = {
            row["classes"]: row["peak_mib"]
            for row in rows
            if (row["side"], row["batch"]) == (side, batch)
        }
        low, high = FROM if FROM in peaks else min(peaks), max(peaks)
        if low < high:
            entry = {"side": side, "batch": batch, "from": low, "to": high}
            result.append({**entry, "peak": peaks[high] / peaks[low]})
    return result


def tables(report: dict) -> str:
    """All tables, parted by empty lines."""
    machine, settings, most = report["machine"], report["settings"], report["matmul_gflops"]
    head = (
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} threads, torch "
        f"{machine['torch']}, {settings['dtype']}{', compiled' * settings['compiled']}, working "
        f"size {settings['image_size']}, answer: {settings['answer']}; one matrix product: "
        f"{most:.0f} GFLOP/s."
    )
    found = [head, _whole(report["rows"], most)]
    if report["ratios"]:
        found.append(_ratios(report["ratios"]))
    for entry in report["growth"]:
        found.append(
            f"Peak memory of {entry['side']}, batch {entry['batch']}, from {entry['from']} to "
            f"{entry['to']} names: {entry['peak']:.2f} times."
        )
    for side, batch in dict.fromkeys((row["side"], row["batch"]) for row in report["rows"]):
        rows = [row for row in report["rows"] if (row["side"], row["batch"]) == (side, batch)]
        if any(row["parts"] for row in rows):
            title = f"Parts of {side}, batch {batch}: seconds (of peak; peak MiB)."
            found += [title, _parts(rows, most)]
    return "\n\n".join(found) + "\n"


def _share(gflop: float, seconds: float | None, most: float) -> str:
    return f"{100 * gflop / seconds / most:.0f}%" if gflop and seconds else "-"


def _whole(rows: Sequence[dict], most: float) -> str:
    heads = ["names", "batch", "side", "best s", "median s", "CPU s", "GFLOP", "of peak"]
    lines = [
        [
            row["classes"],
            row["batch"],
            row["side"],
            f"{row['best_s']:.3f}",
            f"{row['median_s']:.3f}",
            f"{row['cpu_s']:.3f}",
            f"{row['gflop']:.0f}" if row["gflop"] else "-",
            _share(row["gflop"], row["best_s"], most),
            f"{row['peak_mib']:.0f}",
            f"{row['added_mib']:.0f}",
        ]
        for row in rows
    ]
    return markdown_table([*heads, "peak MiB", "added MiB"], lines)


def _ratios(entries: Sequence[dict]) -> str:
    heads = ["names", "batch", "time", "median time", "CPU time", "peak memory", "added memory"]
    lines = []
    for entry in entries:
        difference = entry["difference"] or {}
        largest, changed = difference.get("largest"), difference.get("changed")
        lines.append(
            [
                entry["classes"],
                entry["batch"],
                *(f"{entry[key]:.2f}x" for key in ("best", "median", "cpu", "peak", "added")),
                "-" if largest is None else f"{largest:.1e}",
                "-" if changed is None else f"{100 * changed:.3f}%",
            ]
        )
    title = "The reference over STSeg, and how far answers are apart:\n\n"
    return title + markdown_table([*heads, "largest difference", "pixels changed"], lines)


def _parts(rows: Sequence[dict], most: float) -> str:
    labels = dict.fromkeys(label for row in rows for label in row["parts"])
    lines = []
    for label in labels:
        line = [label]
        for row in rows:
            part = row["parts"].get(label)
            if part is None or part["seconds"] is None:
                line.append("-")
                continue
            share = _share(part["gflop"], part["seconds"], most)
            line.append(f"{part['seconds']:.3f} ({share}; {part['peak_mib']:.0f})")
        lines.append(line)
    return markdown_table(["part", *(f"N={row['classes']}" for row in rows)], lines)
