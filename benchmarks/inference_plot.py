"""Time and memory over the number of names, as a picture."""

from collections.abc import Sequence
from pathlib import Path

PANELS = (("best_s", "seconds", 1.0), ("peak_mib", "peak memory, GiB", 1 / 1024))
STYLES = {"stseg": ("tab:blue", "STSeg"), "reference": ("tab:orange", "SED")}


def plot(report: dict, path: Path) -> None:
    """Draw both panels, a line per side and batch size.

    Args:
        report: from `benchmarks.inference.run`.
        path: picture to write, of any format that Matplotlib knows by its ending.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (key, title, scale) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for (side, batch), rows in lines(report["rows"]).items():
            colour, name = STYLES[side]
            axes.plot(
                [row["classes"] for row in rows],
                [row[key] * scale for row in rows],
                color=colour,
                marker="o",
                linestyle="-" if batch == 1 else "--",
                label=name if batch == 1 else f"{name}, batch {batch}",
            )
        highest = max(row[key] for row in report["rows"]) * scale
        axes.set(xlabel="names", ylabel=title, ylim=(0, 1.08 * highest), xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    machine, settings = report["machine"], report["settings"]
    hardware = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    figure.suptitle(f"{hardware}, {settings['dtype']}, {settings['image_size']} pixels")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nWritten to {path}")


def lines(rows: Sequence[dict]) -> dict[tuple[str, int], list[dict]]:
    """Rows by side and batch, each in order of names."""
    found: dict[tuple[str, int], list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["classes"]):
        found.setdefault((row["side"], row["batch"]), []).append(row)
    return found
