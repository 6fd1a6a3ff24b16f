import pytest

from benchmarks import video_flicker


def test_flicker_is_told_before_and_after(capsys):
    argv = ["--frames", "3", "--names", "star; grass", "--hold", "0.9", "--noise", "60"]
    rows = video_flicker.main(argv)["rows"]
    assert [row["hold"] for row in rows] == [0.0, 0.9]
    assert "flicker" in capsys.readouterr().out
    assert rows[1]["changes"] <= rows[0]["changes"] <= 1
    assert rows[1]["flicker"] == pytest.approx(0, abs=rows[0]["flicker"])
