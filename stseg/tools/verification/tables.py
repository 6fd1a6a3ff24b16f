"""What `verify` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabulate import tabulate

from stseg.tools.verification.inspection import Report
from stseg.tools.verification.official import official_for

_HEAD = ("data set", "state", "images", "official", "looked into", "classes seen", "ignored")


def overview(reports: Sequence[Report]) -> str:
    """A table with a line per data set."""
    rows = [_row(report) for report in reports]
    align = ("left", "left", *["right"] * 5)
    return tabulate(rows, _HEAD, tablefmt="simple", colalign=align, disable_numparse=True)


def details(report: Report) -> str:
    """Findings and notes of one data set, "" if there are none."""
    if not report.findings:
        return ""
    lines = [f"{report.target.name}:"]
    for finding in sorted(report.findings, key=lambda f: f.is_note):
        kind = "note" if finding.is_note else "FINDING"
        lines.append(f"  {kind} {finding.code}: {_upper(finding.text)}.")
        if finding.cure:
            lines.append(f"    What to do: {finding.cure}")
        more = finding.count - len(finding.files)
        lines += [f"    {path}" for path in finding.files]
        lines += [f"    and {more} more"] if finding.files and more > 0 else []
    return "\n".join(lines)


def _row(report: Report) -> tuple[str, ...]:
    name = report.target.name
    if report.absent:
        return (name, report.status, *[""] * 5)
    official = official_for(name)
    has_labels = report.histogram.num_images > 0
    return (
        name,
        report.status,
        str(report.num_images),
        " or ".join(map(str, official.images)) if official else "",
        str(report.num_checked),
        f"{report.classes_seen} of {len(report.target.names)}" if has_labels else "",
        "" if math.isnan(report.ignored) else f"{100 * report.ignored:.1f} %",
    )


def _upper(text: str) -> str:
    return (text[:1].upper() + text[1:]).rstrip(".")
