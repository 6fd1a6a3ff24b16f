import hashlib
import json
import subprocess
import sys
import time
import types
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from stseg.weights import entries, find, get, verify, whereabouts
from tests.helpers.weight_server import write_table

ROOT = Path(__file__).resolve().parents[2]
NAME, FILE = "ebseg-vitB", "EBSeg_base.pth"
CONTENT = bytes(range(256)) * 2000
WHOLE = len(CONTENT)


@pytest.fixture
def shop(shop):
    shop.files[FILE] = CONTENT
    return shop


def tell(monkeypatch, tmp_path, server, **fields):
    """Change fields of the entry."""
    table = write_table(tmp_path / "other.json", server, ebseg_vitB=fields)
    monkeypatch.setattr(entries, "TABLE", table)


def sha(content):
    return hashlib.sha256(content).hexdigest()


def beside(path):
    return {p.name for p in path.parent.iterdir()} - {f"{FILE}.lock"}


def test_a_file_comes_once_and_its_hash_is_kept(shop, tmp_path):
    path = get(NAME)
    assert path == tmp_path / "cache" / "weights" / NAME / FILE and path.read_bytes() == CONTENT
    record = json.loads(path.with_name(f"{FILE}.json").read_text())
    assert (record["sha256"], record["bytes"]) == (sha(CONTENT), WHOLE)
    assert record["url"] == f"{shop.url}/{FILE}" and len(record["date"]) == 10
    assert get(NAME) == path and shop.requests == [""]
    assert beside(path) == {FILE, f"{FILE}.json"}


def test_a_dropped_connection_is_gone_on_with(shop):
    shop.cut_after = [200_000, 100_000]
    assert get(NAME).read_bytes() == CONTENT
    assert shop.requests == ["", "bytes=200000-", "bytes=300000-"]
    assert sum(shop.sent) == WHOLE


def process(name=NAME):
    """Another process that gets the file of an entry, by the same table, and prints its path."""
    code = f"""from pathlib import Path; from stseg.weights import entries, get
entries.TABLE = Path({str(entries.TABLE)!r}); print(get({name!r}))"""
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_left_is_gone_on_with(shop, tmp_path):
    shop.slow = 0.05
    first = process()
    part = tmp_path / "cache" / "weights" / NAME / f"{FILE}.part"
    deadline = time.monotonic() + 60
    while (not part.exists() or part.stat().st_size < WHOLE // 4) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    left, shop.slow = part.stat().st_size, 0.0
    assert WHOLE // 4 <= left < WHOLE
    assert get(NAME).read_bytes() == CONTENT
    assert shop.requests == ["", f"bytes={left}-"] and shop.sent[1] == WHOLE - left


def test_what_broke_off_for_good_is_gone_on_with_when_it_is_next_asked_for(shop):
    shop.cut_after = [300_000, 0, 0]  # then three answers that bring nothing
    with pytest.raises(OSError, match="300000 of 512000 bytes"):
        get(NAME)
    assert whereabouts(find(NAME)) is None
    before = len(shop.sent)
    assert get(NAME).read_bytes() == CONTENT
    assert sum(shop.sent[before:]) == WHOLE - 300_000


@pytest.mark.parametrize(("total", "requests"), [(WHOLE, 1), (None, 3)])
def test_a_part_that_is_whole_is_not_fetched_again_where_that_is_known(shop, total, requests):
    path = get(NAME)
    path.rename(path.with_name(f"{FILE}.part"))
    memory = {"url": f"{shop.url}/{FILE}", "version": shop.version(FILE), "total": total}
    path.with_name(f"{FILE}.part.json").write_text(json.dumps(memory))
    assert get(NAME).read_bytes() == CONTENT and len(shop.requests) == requests


def test_a_server_without_ranges_sends_all_again(shop):
    shop.takes_range, shop.cut_after = False, [200_000]
    assert get(NAME).read_bytes() == CONTENT
    assert shop.sent == [200_000, WHOLE]


def test_a_part_of_an_earlier_version_is_given_up(shop):
    shop.cut_after = [300_000, 0, 0]
    with pytest.raises(OSError):
        get(NAME)
    shop.files[FILE] = CONTENT[::-1]
    assert get(NAME).read_bytes() == CONTENT[::-1]


def test_a_web_page_that_calls_itself_a_file_is_none_either(shop):
    shop.files[FILE] = b"\n<html lang=en><title>\nSign in</title>"
    with pytest.raises(OSError, match="a web page came instead of the file: Sign in"):
        get(NAME)


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3), (429, 3)])
def test_a_refusal_is_asked_again_where_that_may_help(shop, status, requests):
    shop.status = status
    with pytest.raises(OSError, match=f"HTTP Error {status}"):
        get(NAME)
    assert len(shop.requests) == requests


def test_a_web_page_is_no_file(shop):
    shop.page = True
    with pytest.raises(OSError, match=r"a web page came .*Google Drive - Quota exceeded"):
        get(NAME)
    assert whereabouts(find(NAME)) is None
    shop.page = False
    assert get(NAME).read_bytes() == CONTENT


def test_without_network_a_sentence_says_what_to_put_where(shop, tmp_path, monkeypatch):
    tell(monkeypatch, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(OSError) as caught:
        get(NAME)
    assert str(caught.value) == (
        f"{NAME}: expected {FILE} at {tmp_path}/cache/weights/{NAME}, and it cannot "
        f"be had from http://127.0.0.1:9/{FILE} ([Errno 111] Connection refused). Download "
        "it elsewhere and put it there, or set STSEG_WEIGHTS to the folder that has it."
    )


def test_a_folder_serves_offline_even_where_it_and_the_cache_are_read_only(
    shop, tmp_path, monkeypatch, caplog
):
    folder = tmp_path / "usb"
    folder.mkdir()
    (folder / FILE).write_bytes(CONTENT)
    monkeypatch.setenv("STSEG_WEIGHTS", str(folder))
    (tmp_path / "file").touch()
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "file"))
    assert get(NAME) == folder / FILE and not shop.requests
    assert "the hash is not kept" in caplog.text
    assert [p.name for p in folder.iterdir()] == [FILE]


def test_a_folder_that_can_be_written_receives_the_file(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("STSEG_WEIGHTS", str(tmp_path))
    assert get(NAME) == tmp_path / FILE


def test_a_folder_that_is_not_there_is_named_where_nothing_can_be_fetched(
    shop, tmp_path, monkeypatch
):
    monkeypatch.setenv("STSEG_WEIGHTS", "/no/such")
    shop.status = 404
    with pytest.raises(OSError, match=rf"{tmp_path}/cache.*set STSEG_WEIGHTS \(now /no/such\) to"):
        get(NAME)


def test_the_hash_of_the_table_decides(shop, tmp_path, monkeypatch):
    tell(monkeypatch, tmp_path, shop.url, sha256=sha(CONTENT))
    assert get(NAME).read_bytes() == CONTENT
    tell(monkeypatch, tmp_path, shop.url, sha256="0" * 64)
    with pytest.raises(ValueError, match=f"sha256 {'0' * 64}, got {sha(CONTENT)} in .*{FILE}"):
        verify(find(NAME), whereabouts(find(NAME)))


def test_wrong_content_takes_no_files_place(shop, tmp_path, monkeypatch):
    tell(monkeypatch, tmp_path, shop.url, sha256="0" * 64)
    with pytest.raises(ValueError, match=f"{'0' * 64}, got {sha(CONTENT)}.*came from {shop.url}"):
        get(NAME)
    assert not list(tmp_path.rglob(FILE)) and not list(tmp_path.rglob("*.part"))


def test_another_file_under_the_name_seen_first_is_refused_until_that_is_forgotten(shop):
    path = get(NAME)
    path.unlink()
    shop.files[FILE] = CONTENT[::-1]
    with pytest.raises(ValueError, match=f"{sha(CONTENT)}, as it was on 20.*{FILE}.json to take"):
        get(NAME)
    path.with_name(f"{FILE}.json").unlink()
    assert get(NAME).read_bytes() == CONTENT[::-1]


def test_a_file_that_was_changed_is_noticed_when_it_is_next_asked_for(shop):
    path = get(NAME)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match=f"{sha(CONTENT)}.*got {sha(CONTENT[::-1])}"):
        get(NAME)
    assert path.read_bytes() == CONTENT[::-1]


def test_what_nobody_publishes_says_so():
    with pytest.raises(FileNotFoundError, match="pgseg: expected .*Its README links no weights"):
        get("pgseg")


def test_several_processes_fetch_once(shop, tmp_path):
    shop.slow = 0.02
    answers = {p.communicate(timeout=60)[0].strip() for p in [process() for _ in range(3)]}
    path = tmp_path / "cache" / "weights" / NAME / FILE
    assert answers == {str(path)} and path.read_bytes() == CONTENT
    assert shop.requests == [""]


def test_hugging_faces_address_may_be_a_mirror(shop, tmp_path, monkeypatch):
    tell(monkeypatch, tmp_path, shop.url, url=f"https://huggingface.co/a/b/resolve/main/{FILE}")
    monkeypatch.setenv("HF_ENDPOINT", f"{shop.url}/")
    assert get(NAME).read_bytes() == CONTENT


def test_files_on_google_drive_are_fetched_by_gdown_where_it_is_installed(
    shop, tmp_path, monkeypatch
):
    asked = []

    def download(*, id, output, quiet, resume):
        asked.append(id)
        if len(asked) == 1:
            raise RuntimeError("Too many users have viewed or downloaded this file recently.")
        Path(output).write_bytes(CONTENT)

    gdown = types.ModuleType("gdown")
    gdown.download, gdown.__spec__ = download, object()
    monkeypatch.setitem(sys.modules, "gdown", gdown)
    tell(monkeypatch, tmp_path, shop.url, url="https://drive.google.com/file/d/1a-B_c/view")
    with pytest.raises(OSError, match="gdown: Too many users"):
        get(NAME)
    path = get(NAME)
    assert path.read_bytes() == CONTENT and asked == ["1a-B_c", "1a-B_c"]
    assert beside(path) == {FILE, f"{FILE}.json"}


def test_files_on_google_drive_are_fetched_by_https_else(shop, tmp_path, monkeypatch):
    if find_spec("gdown"):
        pytest.skip("gdown is installed")
    asked = []

    def urlopen(request, **kwargs):
        asked.append(request.full_url)
        return urllib.request.urlopen(f"{shop.url}/{FILE}", **kwargs)

    monkeypatch.setattr("stseg.weights.download.urlopen", urlopen)
    tell(monkeypatch, tmp_path, shop.url, url="https://drive.google.com/file/d/1a-B_c/view")
    assert get(NAME).read_bytes() == CONTENT
    assert asked[0].startswith("https://drive.usercontent.google.com/download?id=1a-B_c&")


def test_a_full_disk_is_told_before_anything_is_written(shop, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="expected 0.00 GB of room"):
        get(NAME)
