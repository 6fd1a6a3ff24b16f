import os
import subprocess
import sys

import pytest

from stseg.utils import remove_leftovers


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_only_temporary_files_of_dead_processes_go(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (tmp_path / "below").mkdir()
    gone = [f".a.pth.{dead.pid}.tmp", f".film.{dead.pid}.tmp.mp4"]
    kept = [
        f".a.pth.{os.getpid()}.tmp",
        "a.tmp",
        f"a.{dead.pid}.tmp",
        ".hidden",
        f"below/{gone[0]}",
    ]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert not any((tmp_path / name).exists() for name in gone)
    assert all((tmp_path / name).exists() for name in kept)
    remove_leftovers(tmp_path, below=True)
    assert not (tmp_path / kept[-1]).exists()
    remove_leftovers(tmp_path / "nowhere")
