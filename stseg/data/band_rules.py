"""Which bands of a raster are seen as red, green and blue, and which values as black and white.

Sensors have more than three bands and more than eight bits; a network has seen photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stseg.data.pixel_values import white_of

#: How values become eight bits, beside LOW:HIGH.
VALUE_RULES = ("bits", "percentile")
#: Shares of the values that are black, and not yet white, under "percentile".
_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class BandRule:
    """What a person has said about bands and values.

    Attributes:
        bands: numbers of one band (grey) or of three (red, green, blue), from 1; None where nothing
            was said: the bands that the file marks as red, green and blue, or its only one, or all
            three.
        values: "bits": black is 0, and white the greatest value of the fewest bits that all but one
            in a thousand values fit (as of other pictures, see `white_of`; 1 for floats up to about
            one). "percentile": black and white are the 2nd and the 98th percentile of the chosen
            bands together. Or (black, white) themselves. One rule for the whole file: its tiles
            agree. Eight bits are left as they are under "bits".
    """

    bands: tuple[int, ...] | None = None
    values: str | tuple[float, float] = "bits"

    @classmethod
    def parse(cls, bands: str = "", values: str = "bits") -> BandRule:
        """Read `--bands` and `--values`.

        Raises:
            ValueError: names the flag and what it takes.
        """
        return cls(_bands(bands) if bands else None, _values(values))

    def chosen(self, path: Path, colours: Sequence[str]) -> tuple[int, ...]:
        """The bands of a file that are seen.

        Args:
            path: for messages.
            colours: what the file says of each band, such as "red", "gray", "alpha", "undefined".

        Returns:
            One number, or three, from 1.

        Raises:
            ValueError: if the rule and the file do not say, or name a band that is not there.
        """
        count = len(colours)
        if self.bands is not None:
            if max(self.bands) > count:
                raise ValueError(
                    f"--bands: expected numbers up to {count}, as {path.name} has bands, got "
                    f"{','.join(map(str, self.bands))}."
                )
            return self.bands
        if {"red", "green", "blue"} <= set(colours):
            return tuple(colours.index(colour) + 1 for colour in ("red", "green", "blue"))
        pictures = [i + 1 for i, colour in enumerate(colours) if colour != "alpha"]
        if len(pictures) in (1, 3):
            return tuple(pictures)
        raise ValueError(
            f"Image {path}: expected one band or three, or bands marked as red, green and blue, "
            f"got {count} ({', '.join(colours[:12])}{', ...' if count > 12 else ''}). Say which "
            "are red, green and blue, such as --bands 4,3,2 for Sentinel-2 or --bands 1,2,3 for "
            "most aerial pictures."
        )

    def limits(self, dtype: np.dtype, sample: Callable[[], np.ndarray]) -> tuple[float, float]:
        """What is shown as black, and what as white.

        Args:
            dtype: of the bands.
            sample: reads some valid values of all bands; asked for where they decide.

        Raises:
            ValueError: if values are complex, or none but one is there under "percentile".
        """
        if dtype.kind not in "uifb":
            raise ValueError(
                f"Image: expected integers or floats, got {dtype}. Save their magnitude instead."
            )
        if not isinstance(self.values, str):
            return self.values
        if self.values == "bits" and dtype == np.uint8:
            return 0.0, 255.0
        values = sample()
        values = values[np.isfinite(values)]
        if self.values == "bits":
            return 0.0, float(white_of(values))
        if not values.size:
            return 0.0, 1.0
        low, high = (float(x) for x in np.percentile(values, _PERCENTILES))
        return (low, high) if low < high else (low, low + 1)


def as_eight_bits(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values of any type as uint8, 0 at the first limit and below, 255 at the second and above."""
    low, high = limits
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.nan_to_num(scaled, nan=0.0, posinf=255, neginf=0).round().clip(0, 255).astype("uint8")


def _bands(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (1, 3) or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(
            f"--bands: expected one number (grey) or three (red, green, blue) from 1, such as "
            f"4,3,2, got {text!r}."
        )
    return tuple(map(int, parts))


def _values(text: str) -> str | tuple[float, float]:
    if text in VALUE_RULES:
        return text
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise ValueError(
            f"--values: expected {', '.join(VALUE_RULES)} or BLACK:WHITE with BLACK below WHITE, "
            f"such as 0:3000, got {text!r}."
        )
    return low, high
