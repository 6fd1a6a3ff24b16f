from pathlib import Path

import numpy as np
import pytest

from stseg.data import BandRule
from stseg.data.band_rules import as_eight_bits

FILE = Path("scene.tif")


@pytest.mark.parametrize(
    ("said", "colours", "chosen"),
    [
        ("", ["gray"], (1,)),
        ("", ["gray", "alpha"], (1,)),
        ("", ["undefined"] * 3, (1, 2, 3)),
        ("", ["blue", "green", "red", "undefined"], (3, 2, 1)),
        ("4,3,2", ["undefined"] * 12, (4, 3, 2)),
        ("2", ["undefined"] * 5, (2,)),
    ],
)
def test_bands_are_those_said_or_marked(said, colours, chosen):
    assert BandRule.parse(said).chosen(FILE, colours) == chosen


def test_bands_that_nobody_marked_are_asked_for():
    with pytest.raises(ValueError, match="scene.tif.*got 5.*--bands 4,3,2"):
        BandRule().chosen(FILE, ["gray", *["undefined"] * 4])
    with pytest.raises(ValueError, match="numbers up to 3"):
        BandRule.parse("4,3,2").chosen(FILE, ["undefined"] * 3)


@pytest.mark.parametrize(("flag", "text"), [("bands", "1,2"), ("bands", "0"), ("values", "9:1")])
def test_flags_that_say_nothing_are_refused(flag, text):
    with pytest.raises(ValueError, match=f"--{flag}: expected"):
        BandRule.parse(**{flag: text})


def test_values_become_eight_bits_by_the_rule():
    values = np.arange(0, 4000, dtype=np.uint16)
    limits = {
        rule: BandRule.parse(values=rule).limits(values.dtype, lambda: values)
        for rule in ("bits", "percentile", "100:200")
    }
    assert limits["bits"] == (0, 4095) and limits["100:200"] == (100, 200)
    assert limits["percentile"] == pytest.approx((80, 3919), abs=1)
    seen = as_eight_bits(np.array([0, 100, 150, 200, 9999], dtype=np.uint16), (100, 200))
    assert seen.tolist() == [0, 0, 128, 255, 255] and seen.dtype == np.uint8


def test_eight_bits_stay_and_no_value_is_black():
    pixels = np.array([[0, 7, 255]], dtype=np.uint8)
    limits = BandRule().limits(pixels.dtype, lambda: pytest.fail("nothing to look for"))
    assert as_eight_bits(pixels, limits) is pixels
    floats = np.array([np.nan, np.inf, -np.inf, 0.5], dtype=np.float32)
    assert as_eight_bits(floats, (0, 1)).tolist() == [0, 255, 0, 128]
    with pytest.raises(ValueError, match="complex64"):
        BandRule().limits(np.dtype("complex64"), lambda: floats)
