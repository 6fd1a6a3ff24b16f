"""All checks of one data set, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from stseg.tools.verification import checks, id_checks
from stseg.tools.verification.data_set import Listed, Target
from stseg.tools.verification.finding import Finding
from stseg.tools.verification.official import check_count, is_whole, official_for
from stseg.tools.verification.raw_copy import find_raw_copies
from stseg.tools.verification.scan import FileFacts, Histogram, scan, spread
from stseg.tools.verification.variants import find_variants


@dataclass(frozen=True)
class Settings:
    """How to look.

    Attributes:
        jobs: threads.
        limit: look into so many pairs, evenly spread over all; 0 = all. Every file is paired.
        decode: decode the images, too.
        strict: fewer images than officially are a finding.
    """

    jobs: int = 1
    limit: int = 0
    decode: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Report:
    """What was found about one data set.

    Attributes:
        target: what it ought to be.
        num_images: that belong to it.
        num_checked: of which were looked into.
        histogram: of their label maps.
        findings: findings and notes.
        absent: why there is nothing to look at, "" if there is.
        is_prepared: False where the images are there and the label maps are not.
    """

    target: Target
    num_images: int
    num_checked: int
    histogram: Histogram
    findings: tuple[Finding, ...]
    absent: str = ""
    is_prepared: bool = True

    @property
    def failures(self) -> int:
        """Findings that are not notes."""
        return sum(not finding.is_note for finding in self.findings)

    @property
    def status(self) -> str:
        """In a word or two."""
        if self.absent:
            return "not there" if self.is_prepared else "not prepared"
        if self.failures:
            return "1 finding" if self.failures == 1 else f"{self.failures} findings"
        return "good" if self.num_checked == self.num_images else "good so far"

    @property
    def classes_seen(self) -> int:
        """Number of classes that occur."""
        return sum(i < len(self.target.names) for i in self.histogram.ids.tolist() if i >= 0)

    @property
    def ignored(self) -> float:
        """Share of pixels, in [0, 1], without a class; NaN without label maps."""
        has_labels = self.histogram.num_images > 0
        return self.histogram.share(*self.target.ignore) if has_labels else float("nan")

    def as_json(self) -> dict[str, Any]:
        """For a file; numbers and texts only."""
        target, histogram = self.target, self.histogram
        official = official_for(target.name)
        return {
            "name": target.name,
            "status": self.status,
            "absent": self.absent,
            "image_dir": str(target.image_dir or ""),
            "label_dir": str(target.label_dir or ""),
            "images": self.num_images,
            "checked": self.num_checked,
            "official": list(official.images) if official else None,
            "official_source": official.source if official else None,
            "classes": len(target.names),
            "classes_seen": self.classes_seen,
            "ignored": self.ignored if histogram.num_images else None,
            "findings": [
                {
                    "code": finding.code,
                    "kind": "note" if finding.is_note else "finding",
                    "text": finding.text,
                    "cure": finding.cure,
                    "count": finding.count,
                    "files": list(finding.files),
                }
                for finding in self.findings
            ],
            "histogram": [
                {"id": i, "pixels": pixels, "images": images}
                for i, pixels, images in zip(
                    histogram.ids.tolist(),
                    histogram.pixels.tolist(),
                    histogram.images.tolist(),
                    strict=True,
                )
            ],
        }


def verify(
    listed: Listed,
    settings: Settings | None = None,
    progress: Callable[[Iterable[FileFacts]], Iterable[FileFacts]] = iter,
) -> Report:
    """Check one data set.

    Args:
        listed: the data set and its files.
        settings: how to look.
        progress: wraps what is looked at, for a progress bar.
    """
    settings = settings or Settings()
    if listed.absent:
        return Report(listed.target, 0, 0, Histogram([]), (), listed.absent, listed.is_prepared)
    pairs = spread(listed.pairs, settings.limit)
    facts = scan(
        pairs,
        jobs=settings.jobs,
        decode=settings.decode,
        progress=progress,
        coding=listed.target.own_coding,
    )
    total = len(listed.pairs)
    findings = [*listed.findings, *check_count(listed.target.name, total, strict=settings.strict)]
    histogram = Histogram(facts)
    whole = len(pairs) == total and is_whole(listed.target.name, total)
    findings += judge(listed.target, facts, histogram, whole=whole)
    return Report(listed.target, total, len(pairs), histogram, tuple(findings))


def judge(
    target: Target, facts: list[FileFacts], histogram: Histogram, *, whole: bool = False
) -> list[Finding]:
    """Everything that the facts say.

    Args:
        target: what they should be.
        facts: of the files.
        histogram: of the facts.
        whole: these are all official images.
    """
    variants = find_variants(target, facts, histogram)
    explained = frozenset().union(*(variant.explains for variant in variants))
    found = [variant.finding for variant in variants]
    copies = find_raw_copies(target, facts)
    # One name for one mishap: an unprepared folder is what its copies are.
    if not any(f.code.startswith(("unprepared", "other-voc")) for f in found):
        found += copies
    return [
        *checks.check_files(target, facts),
        *checks.check_encoding(target, facts),
        *checks.check_sizes(target, facts),
        *id_checks.check_coding(target, facts),
        *found,
        *id_checks.check_ids(target, facts, histogram, explained),
        *id_checks.check_histogram(target, facts, histogram, whole=whole),
    ]


def demand(report: Report) -> Report:
    """The report of a data set that was asked for by name: its absence is a finding."""
    if not report.absent:
        return report
    code = "not-there" if report.is_prepared else "not-prepared"
    finding = Finding(code, report.absent, report.target.cure)
    return replace(report, findings=(finding, *report.findings))
