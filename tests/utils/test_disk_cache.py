import logging
import os

import pytest
import torch

from stseg.utils import TensorCache, cache_folder

TENSOR = torch.arange(256.0)  # about 2 KiB with what torch writes around it


def keys_in(folder):
    return sorted(path.stem for path in folder.rglob("*.tensor"))


def age(cache, key, seconds):
    path = cache.path("group", key)
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.fixture
def size(tmp_path):
    """Bytes of a file with one TENSOR."""
    cache = TensorCache(tmp_path / "one", 0, "Test")
    cache.write("group", "a", TENSOR)
    return cache.path("group", "a").stat().st_size


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        ("$STSEG_CACHE/text", "/cache/text"),
        ("~/here", "/home/me/here"),
        ("$SCRATCH/sam", "/scratch/sam"),
        ("plain/folder", "plain/folder"),
    ],
)
def test_a_setting_names_a_folder_by_one_rule(setting, folder, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("STSEG_CACHE", "/cache")
    assert str(cache_folder(setting)) == folder


def test_the_root_is_in_the_home_folder_unless_it_is_set(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("STSEG_CACHE", raising=False)
    assert str(cache_folder("$STSEG_CACHE/text")) == "/home/me/.cache/stseg/text"
    monkeypatch.setenv("STSEG_CACHE", "~/fast")
    assert str(cache_folder("$STSEG_CACHE/text")) == "/home/me/fast/text"


def test_a_tensor_comes_back_as_it_was(tmp_path):
    made = torch.rand(3, 4, dtype=torch.float64).t()
    cache = TensorCache(tmp_path, 0, "Test")
    assert cache.read("group", "a") is None
    cache.write("group", "a", made)
    found = TensorCache(tmp_path, 0, "Test").read("group", "a")
    assert torch.equal(found, made) and found.stride() == made.stride()


def test_above_the_limit_what_was_unused_for_longest_gives_way(tmp_path, size):
    earlier = TensorCache(tmp_path / "c", 0, "Test")
    for key in "abcd":
        earlier.write("group", key, TENSOR)
    for key, seconds in zip("abcd", (400, 100, 300, 200), strict=True):
        age(earlier, key, seconds)
    cache = TensorCache(tmp_path / "c", 4.5 * size / 2**30, "Test")
    assert cache.read("group", "a") is not None  # used again, so it stays
    cache.write("group", "e", TENSOR)
    assert keys_in(tmp_path / "c") == ["a", "b", "d", "e"]


def test_what_this_run_uses_never_gives_way_and_a_full_cache_is_told_once(tmp_path, size, caplog):
    cache = TensorCache(tmp_path / "c", 2.5 * size / 2**30, "Test")
    for key in "abcd":
        cache.write("group", key, TENSOR)
    assert keys_in(tmp_path / "c") == ["a", "b"]
    assert all(cache.read("group", key) is not None for key in "ab")
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "is full" in line and str(tmp_path / "c") in line


def test_the_limit_counts_what_other_processes_wrote_meanwhile(tmp_path, size):
    limit = 3.5 * size / 2**30
    caches = [TensorCache(tmp_path / "c", limit, "Test") for _ in range(2)]
    for k in range(3):
        for name, cache in zip(("one", "two"), caches, strict=True):
            cache.write("group", f"{name} {k}", TENSOR)
    assert keys_in(tmp_path / "c") == ["one 0", "one 1", "two 0"]
