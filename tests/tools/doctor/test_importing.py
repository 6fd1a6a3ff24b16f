"""Libraries that are there and do not work, as another Python finds them."""

import pytest

from stseg.tools.doctor.importing import ask

BROKEN = {
    "missing_lib": "raise ImportError('libcudart.so.12: cannot open shared object file')",
    "illegal": "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
    "leaving": "import sys; sys.exit('not on this system')",
    "abrupt": "import os, sys; sys.stderr.write('assertion failed\\n'); sys.stderr.flush()\n"
    "os._exit(3)",
    "talking": "print('a word of welcome', end=''); __version__ = '1.2'",
    "endless": "import time; time.sleep(60)",
}


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    for name, code in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def test_whatever_a_library_does_the_next_ones_are_asked(libraries):
    facts = ask(["missing_lib", "illegal", "leaving", "abrupt", "talking"])
    assert facts["missing_lib"]["error"].startswith("ImportError: libcudart.so.12: cannot open")
    assert facts["illegal"]["error"] == "import ends Python by SIGILL"
    assert facts["leaving"]["error"] == "SystemExit: not on this system"
    assert facts["abrupt"]["error"] == "import ends Python with exit code 3: assertion failed"
    assert facts["talking"] == {"version": "1.2"}


def test_a_library_that_never_comes_back_is_given_up(libraries):
    facts = ask(["talking", "endless"], patience=1.0)
    assert facts["talking"] == {"version": "1.2"}
    assert facts["endless"] == {"error": "import is not done after 1 s"}
    assert ask([]) == {}
