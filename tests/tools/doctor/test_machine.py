import pytest

from stseg.tools import GOOD, NOTE, WRONG
from stseg.tools.doctor.machine import check_disk, check_memory, check_processors

GIB = 2**30


@pytest.fixture
def root(tmp_path):
    """A machine of 16 GiB without limits, to be changed."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu").mkdir()
    meminfo = {"MemTotal": 16, "MemAvailable": 12, "SwapFree": 1}
    lines = "".join(f"{name}:   {size * 2**20} kB\n" for name, size in meminfo.items())
    (tmp_path / "proc/meminfo").write_text(lines)
    return tmp_path


def put(root, **files):
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")).write_text(text)


def test_memory_is_what_the_control_group_leaves(root):
    (seen,) = check_memory(root)
    assert seen.status == GOOD and seen.text == "12.0 of 16.0 GiB RAM free, 1.0 GiB swap"
    put(root, memory_dot_max="max\n", memory_dot_current=f"{GIB}\n")
    assert list(check_memory(root)) == [seen]
    put(root, memory_dot_max=f"{4 * GIB}\n")
    (seen,) = check_memory(root)
    assert seen.status == NOTE and "allows 4.0 GiB, of which 1.0 are used" in seen.text


def test_memory_under_the_first_version_of_control_groups(root):
    put(root, memory__memory_dot_limit_in_bytes=f"{8 * GIB}", memory__memory_dot_usage_in_bytes="0")
    (seen,) = check_memory(root)
    assert seen.status == GOOD and "allows 8.0 GiB" in seen.text


def test_a_system_that_tells_nothing_is_a_note(tmp_path):
    (seen,) = check_memory(tmp_path)
    assert seen.status == NOTE


def test_more_threads_than_the_quota_grants_are_a_note(root, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [seen.status for seen in check_processors(root)] == [GOOD]
    put(root, cpu_dot_max="250000 100000\n")
    (seen,) = check_processors(root)
    assert seen.status == NOTE and "grants the time of 2.5" in seen.text
    assert seen.cure == "export OMP_NUM_THREADS=2"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [seen.status for seen in check_processors(root)] == [GOOD]
    put(root, cpu_dot_max="max 100000\n")
    assert [seen.status for seen in check_processors(root)] == [GOOD]


def test_a_cache_that_cannot_be_written_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("STSEG_CACHE", "/proc/nothing/here")
    seen = {one.cure: one for one in check_disk()}
    assert seen["Set STSEG_CACHE."].status == WRONG
