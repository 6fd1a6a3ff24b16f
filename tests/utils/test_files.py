import errno

import pytest

from stseg.utils import explanation, write_atomically


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


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_names_the_file_and_leaves_what_was_there(tmp_path, wrapped):
    path = tmp_path / "model.pth"
    path.write_bytes(b"before")

    def write(file):
        file.write(b"half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            if not wrapped:
                raise
            raise RuntimeError("[enforce fail at inline_container.cc]")  # noqa: B904 - as torch

    with pytest.raises(OSError, match="model.pth: expected room for this file, got a full") as e:
        write_atomically(path, write)
    assert e.value.errno == errno.ENOSPC and explanation(e.value) == e.value.args[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["model.pth"] and path.read_bytes() == b"before"


def test_other_errors_while_writing_stay_what_they_are(tmp_path):
    def write(file):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        write_atomically(tmp_path / "a", write)
    assert not list(tmp_path.iterdir())
