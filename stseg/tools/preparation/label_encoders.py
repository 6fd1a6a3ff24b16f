"""What becomes of the ids of each download. Pure functions of arrays.

Every function takes the ids as the download holds them and returns what label maps hold: (H, W)
uint8 with 255, or uint16 with 65535, where no class is. An id that the format does not know raises
a ValueError, for it means another variant of the data; the caller adds the name of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from stseg.data import load_id_table, load_unseen

_REFUSED = -1

VOC_CLASSES = 20


def coco_stuff(raw: np.ndarray) -> np.ndarray:
    """Stuffthingmaps of COCO-Stuff 164k: official id - 1, with gaps, to 0..170.

    Args:
        raw: (H, W) in 0..181 or 255; 11 of the 182 values stand for no class.
    """
    table = _table(256, load_id_table("coco_stuff_ids"), 255, unlabelled=[*range(182), 255])
    return _translate(raw, table, np.uint8, "0 to 181 (official id - 1) and 255")


def coco_stuff_base(raw: np.ndarray) -> np.ndarray:
    """As `coco_stuff`, without the 15 unseen classes of the 156/15 split; other ids stay."""
    return _without(coco_stuff(raw), load_unseen("coco_stuff_156_15"))


def ade20k_150(raw: np.ndarray) -> np.ndarray:
    """Scene parsing benchmark: 1..150 to 0..149; 0, "other objects", has no class.

    Args:
        raw: (H, W) in 0..150.
    """
    table = _table(256, range(1, 151), 255, unlabelled=[0])
    return _translate(raw, table, np.uint8, "0 to 150")


def ade20k_847(rgb: np.ndarray) -> np.ndarray:
    """Full ADE20K 2021_17_01: place in the list of all objects to 0..846, 65535 elsewhere.

    Args:
        rgb: (H, W, 3) uint8 of `*_seg.png`; red // 10 * 256 + green is the 1-based place, blue
            tells instances apart.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(
            f"expected (H, W, 3) uint8 colours, got {rgb.shape} {rgb.dtype}. Take the *_seg.png."
        )
    places = rgb[..., 0].astype(np.int32) // 10 * 256 + rgb[..., 1]
    # The list has 3688 objects; those that are not among the 847 have no class here.
    table = _table(65536, load_id_table("ade20k_847_ids"), 65535, unlabelled=range(65536))
    return _translate(places, table, np.uint16, "places in the list of objects")


def ade20k_847_base(rgb: np.ndarray) -> np.ndarray:
    """As `ade20k_847`, without the 275 unseen classes of the 572/275 split; other ids stay."""
    return _without(ade20k_847(rgb), load_unseen("ade20k_847_572_275"))


def pascal_context_59(raw: np.ndarray) -> np.ndarray:
    """PASCAL in Detail: the 59 frequent of 459 numbers to 0..58, all others have no class.

    Args:
        raw: (H, W) in 0..459, numbers of PASCAL-Context (1-based), 0 where nothing is annotated.
    """
    frequent = load_id_table("pascal_context_459_to_59")  # of the number less one
    numbers = [frequent.index(k) + 1 for k in range(max(frequent) + 1)]
    table = _table(460, numbers, 255, unlabelled=range(460))
    return _translate(raw, table, np.uint8, "0 to 459")


def pascal_context_59_base(raw: np.ndarray) -> np.ndarray:
    """As `pascal_context_59`, without the ten unseen classes of the 49/10 split; other ids stay."""
    return _without(pascal_context_59(raw), load_unseen("pascal_context_49_10"))


def pascal_context_459(raw: np.ndarray) -> np.ndarray:
    """LabelMap of PASCAL-Context: 1..459 to 0..458; 0, nothing annotated, becomes 65535.

    Args:
        raw: (H, W) in 0..459.
    """
    table = _table(460, range(1, 460), 65535, unlabelled=[0])
    return _translate(raw, table, np.uint16, "0 to 459")


def voc_20(raw: np.ndarray) -> np.ndarray:
    """VOC 2012 without background: 1..20 to 0..19; 0 and 255 have no class.

    Args:
        raw: (H, W) in 0..20 or 255.
    """
    return _voc(raw, background=255)


def voc_20b(raw: np.ndarray) -> np.ndarray:
    """As `voc_20`, but background is class 20."""
    return _voc(raw, background=VOC_CLASSES)


def voc_21(raw: np.ndarray) -> np.ndarray:
    """The ids of VOC 2012 as they are: background 0, objects 1..20, void 255."""
    _voc(raw, background=255)  # refuses other ids
    return raw.astype(np.uint8)


def voc_20_base(raw: np.ndarray) -> np.ndarray:
    """As `voc_20`, without the five unseen classes of the 15/5 split; other ids stay."""
    return _without(voc_20(raw), load_unseen("voc_15_5"))


def cityscapes_19(raw: np.ndarray) -> np.ndarray:
    """`*_gtFine_labelIds.png` of Cityscapes: 34 labels to the 19 of the benchmark.

    Args:
        raw: (H, W) in 0..33 or 255.
    """
    table = _table(256, load_id_table("cityscapes_19_ids"), 255, unlabelled=[*range(34), 255])
    return _translate(raw, table, np.uint8, "0 to 33 and 255")


def _voc(raw: np.ndarray, background: int) -> np.ndarray:
    table = _table(256, range(1, VOC_CLASSES + 1), 255, unlabelled=[255])
    table[0] = background
    return _translate(raw, table, np.uint8, "0 to 20 and 255")


def _table(size: int, ids: Sequence[int], no_class: int, unlabelled: Sequence[int]) -> np.ndarray:
    """(size,) int32: `ids[k]` gives k, `unlabelled` gives `no_class`, the rest is refused."""
    table = np.full(size, _REFUSED, np.int32)
    table[list(unlabelled)] = no_class
    table[list(ids)] = np.arange(len(ids))
    return table


def _translate(raw: np.ndarray, table: np.ndarray, dtype: type, known: str) -> np.ndarray:
    if raw.min(initial=0) < 0 or raw.max(initial=0) >= len(table):
        raise ValueError(_unknown(raw[(raw < 0) | (raw >= len(table))], known))
    prepared = table.take(raw)
    refused = prepared == _REFUSED
    if refused.any():
        raise ValueError(_unknown(raw[refused], known))
    return prepared.astype(dtype)


def _unknown(ids: np.ndarray, known: str) -> str:
    shown = ", ".join(map(str, np.unique(ids)[:5].tolist()))
    return f"expected ids {known}, got {shown}. Another variant of the data lies here."


def _without(prepared: np.ndarray, novel: Collection[int]) -> np.ndarray:
    """Unseen classes have no class, so that training never meets them."""
    no_class = np.iinfo(prepared.dtype).max
    table = np.arange(no_class + 1, dtype=prepared.dtype)
    table[list(novel)] = no_class
    return table.take(prepared)
