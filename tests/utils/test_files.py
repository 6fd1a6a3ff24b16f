import pytest

from stseg.utils.files import write_atomically


def test_bytes_and_writers_make_the_same_file(tmp_path):
    write_atomically(tmp_path / "a", b"new")
    write_atomically(str(tmp_path / "b"), lambda file: file.write(b"new"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")

    def broken(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
