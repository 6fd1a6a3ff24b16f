"""Label maps of the right data set in the wrong encoding: the usual mix-ups, by their signs.

Some signs are certain (an id that only the other encoding has). Others are statistical; these
look at several images and need the numbers below, all of which the shipped samples of correct maps
stay far from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stseg.tools.verification.context_order import order_findings
from stseg.tools.verification.data_set import Target
from stseg.tools.verification.finding import Finding, about_files
from stseg.tools.verification.scan import FileFacts, Histogram, holders
from stseg.utils import some_of

#: VOC: so many label maps at least, and so large a share of them must hold the leading id.
VOC_IMAGES, VOC_PRESENCE = 3, 0.9
#: ADE20K-150: nearly all correct maps have some ignored pixels, so none in 10 is no chance.
ADE_IMAGES = 10

_VOC_FOLDERS = {
    "voc-21": "raw maps (0 = background, classes 1 to 20)",
    "voc-20b": "maps with background as 20 (annotations_detectron2_bg)",
    "voc-20": "maps without background (annotations_detectron2)",
}
# The id that covers most of a VOC map tells its encoding: background, which no class outweighs.
_VOC_LEADERS = {0: "voc-21", 20: "voc-20b", 255: "voc-20"}


@dataclass(frozen=True)
class Variant:
    """A finding about the encoding, and the ids out of range that it explains."""

    finding: Finding
    explains: frozenset[int] = frozenset()


def find_variants(
    target: Target, facts: Sequence[FileFacts], histogram: Histogram
) -> list[Variant]:
    """Every known mix-up whose signs the label maps carry.

    Args:
        target: what they should be.
        facts: of the files.
        histogram: of the facts.
    """
    if not histogram.num_images:
        return []
    look = _LOOKS.get(target.family)
    return look(target, facts, histogram) if look else []


def _coco(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    ids = _present(histogram, 171, 182)
    text = (
        "expected prepared maps (ids 0 to 170), got {count} unprepared ones of the download "
        f"(stuffthingmaps, 182 ids): they hold {some_of(ids, 8)}"
    )
    return _variant("unprepared-coco", text, target.remedy, holders(facts, ids), ids)


def _ade_150(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    ids = _present(histogram, 150, 150)
    if not ids and (histogram.num_images < ADE_IMAGES or histogram.in_images(255)):
        return []
    sign = "they hold 150" if ids else f"none of {histogram.num_images} holds the ignored 255"
    text = (
        "expected prepared maps (wall = 0, other = 255), got unprepared ones of the download "
        f"(other = 0, wall = 1): {sign}"
    )
    files = holders(facts, ids) if ids else [f.label for f in facts if f.has_ids]
    return _variant("unprepared-ade", text, target.remedy, files, ids)


def _ade_847(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    ids = _present(histogram, 848, 4095)
    text = (
        "expected ids 0 to 846, got {count} label maps with ids of the full list of objects: "
        f"{some_of(ids, 8)}"
    )
    return _variant("unprepared-ade-full", text, target.remedy, holders(facts, ids), ids)


def _cityscapes(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    ids = _present(histogram, 19, 33)
    text = f"expected train ids 0 to 18, got {{count}} label maps with raw ids: {some_of(ids, 8)}"
    return _variant("unprepared-cityscapes", text, target.remedy, holders(facts, ids), ids)


def _voc(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    if histogram.num_images < VOC_IMAGES:
        return []
    leader = max(_VOC_LEADERS, key=histogram.share)
    got = _VOC_LEADERS[leader]
    is_everywhere = histogram.in_images(leader) >= VOC_PRESENCE * histogram.num_images
    if got == target.family or not is_everywhere:
        return []
    text = (
        f"expected {_VOC_FOLDERS[target.family]}, got {_VOC_FOLDERS[got]}: {leader} covers "
        f"{100 * histogram.share(leader):.0f} % of the pixels"
    )
    files = holders(facts, [leader])
    explained = [20] if target.family == "voc-20" else []
    return _variant("other-voc-maps", text, target.remedy, files, explained)


def _context_459(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    """Peers ignore 459 (SED, CAT-Seg) or 65535 (SAN, EBSeg, FC-CLIP)."""
    found = [i for i in (459, 65535) if histogram.in_images(i)]
    unknown = [i for i in found if i not in target.ignore]
    if unknown or len(found) == 2:
        text = (
            f"expected {some_of(target.ignore)} as the id without a class, got {some_of(found)}: "
            "SED and CAT-Seg use 459, SAN, EBSeg and FC-CLIP 65535"
        )
        cure = (
            "Two scripts wrote into this folder. " + target.remedy
            if len(found) == 2
            else f'Say so: "ignore": {unknown[0]} in the names file. {target.cure}'
        )
        files = holders(facts, unknown or found)
        return _variant("context-459-ignore", text, cure, files, unknown)
    note = Finding(
        "context-459-ignore",
        f"pixels without a class are {some_of(found)}; other projects may expect "
        f"{'65535' if found == [459] else '459'}",
        is_note=True,
    )
    return [Variant(note)] if found else []


def _context_59(target: Target, facts: Sequence[FileFacts], histogram: Histogram) -> list[Variant]:
    return [Variant(finding) for finding in order_findings(target, facts, histogram)]


_LOOKS = {
    "coco-stuff": _coco,
    "ade-150": _ade_150,
    "ade-847": _ade_847,
    "cityscapes": _cityscapes,
    "voc-20": _voc,
    "voc-20b": _voc,
    "voc-21": _voc,
    "context-459": _context_459,
    "context-59": _context_59,
}


def _present(histogram: Histogram, first: int, last: int) -> list[int]:
    return [i for i in histogram.ids.tolist() if first <= i <= last]


def _variant(
    code: str, text: str, cure: str, files: Sequence[str], explains: Sequence[int]
) -> list[Variant]:
    return [Variant(f, frozenset(explains)) for f in about_files(code, text, cure, files)]
