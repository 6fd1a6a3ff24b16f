import errno
import io
import json
import os
from contextlib import redirect_stdout

import pytest

from stseg.utils import as_bytes, explanation, irregular_kind, say, write_atomically


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


def test_what_is_no_file_has_a_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    kinds = {
        "pipe": "a pipe",
        "circle": "a link that leads in a circle",
        "gone": "a link that leads nowhere",
        "file": "",
        "link": "",
        "nothing": "",
        "": "a folder",
    }
    assert {name: irregular_kind(tmp_path / name) for name in kinds} == kinds
    assert irregular_kind("/dev/null") == "a device"


def test_text_with_a_file_name_that_is_none_comes_back_through_json():
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    content = as_bytes(json.dumps([name], ensure_ascii=False))
    assert json.loads(content.decode("utf-8")) == [name]
    assert "\u00e9".encode() in content  # what can be told is


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_a_line_is_said_on_any_screen(encoding):
    buffer = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(buffer, encoding=encoding, errors="strict")):
        say(os.fsdecode(b"a\xff") + " \u65e5")
        assert buffer.getvalue().startswith(b"a\\udcff ")
