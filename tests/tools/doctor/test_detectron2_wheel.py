import subprocess
import sys

import pytest

from stseg.tools.doctor import detectron2_wheel, install_detectron2


def test_one_that_is_there_is_left_alone(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("pip was run"))
    assert install_detectron2() is False


@pytest.mark.parametrize("code", [0, 1])
def test_a_missing_one_is_installed_for_this_python_and_a_failure_is_told(monkeypatch, code):
    said = []

    def run(command, **options):
        said.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(detectron2_wheel, "is_installed", lambda name: False)
    monkeypatch.setattr(subprocess, "run", run)
    if code:
        with pytest.raises(OSError, match=r"Detectron2: expected pip to install sal-detectron2=="):
            install_detectron2()
    else:
        assert install_detectron2() is True
    (command,) = said
    assert command[0] == sys.executable and "--require-hashes" in command
    pinned = open(command[-1]).read()
    assert pinned.startswith("sal-detectron2==") and "--hash=sha256:" in pinned
