import pytest

from benchmarks import large


def test_memory_and_time_of_a_small_large_picture_are_told(capsys):
    pytest.importorskip("rasterio", reason="rasterio (stseg[geo]) is not installed")
    argv = ["--size", "200", "--tile", "128", "--overlap", "16", "--names", "star; grass"]
    report = large.main(argv)
    text = capsys.readouterr().out
    assert text.startswith("4 tiles of ") and "peak_mib" in text
    assert report["tiles"] == 4 and report["peak_mib"] >= report["peak_mib_of_one_tile"] > 0
