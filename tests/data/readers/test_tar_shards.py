"""Shards of images and captions: what is found, kept and refused."""

import os
import tarfile

import numpy as np
import pytest

from stseg.data.opening import BrokenFileError
from stseg.data.readers import tar_shards
from stseg.data.readers.tar_shards import ShardPairs, index_shard
from tests.helpers.caption_data import picture, sample, write_shard, write_shards

pytestmark = pytest.mark.usefixtures("label_cache_dir")


def captions(*paths):
    pairs = ShardPairs.of([str(path) for path in paths], "mine")
    return [pairs.read(i)["caption"] for i in range(len(pairs))]


def test_pairs_of_shards_of_several_sizes_are_read_by_number(tmp_path):
    write_shards(tmp_path, sizes=(7, 0, 5))
    pairs = ShardPairs.of([str(path) for path in sorted(tmp_path.glob("*.tar"))], "mine")
    assert len(pairs) == 12 and pairs.incomplete == 0
    for number in reversed(range(12)):
        shard = tmp_path / ("00000.tar" if number < 7 else "00002.tar")
        record = pairs.read(number)
        assert record == {
            "file_name": f"{shard}/{number:09d}.jpg",
            "image_bytes": picture(number),
            "caption": f"number {number}",
        }
        assert pairs.place(number) == str(shard)


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "webp"])
def test_every_kind_of_image_is_taken(tmp_path, ending):
    path = write_shard(tmp_path / "a.tar", [sample(1, **{ending: picture(1), "txt": b"one"})])
    assert captions(path) == ["one"]


@pytest.mark.parametrize(
    ("members", "caption"),
    [
        ({"txt": b" ein Haus\n"}, "ein Haus"),
        ({"text": "雪の家 ❄".encode()}, "雪の家 ❄"),
        ({"txt": b"\xef\xbb\xbfmarked"}, "marked"),
        ({"json": b'{"caption": "\\u00e9t\\u00e9", "url": ""}'}, "été"),
        ({"json": b'{"caption": "other"}', "txt": b"this"}, "this"),
        ({"json": b'{"caption": "this"}', "txt": b""}, "this"),
    ],
)
def test_captions_are_texts_or_entries_of_json(tmp_path, members, caption):
    assert captions(write_shard(tmp_path / "a.tar", [sample(1, jpg=picture(1), **members)])) == [
        caption
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"txt": b" \n"},
        {"txt": b"caf\xe9"},
        {"json": b'{"caption": null}'},
        {"json": b'{"title": "a"}'},
        {"json": b'{"caption": "\\ud83d"}'},
        {"json": b"["},
        {"json": b"[1]"},
    ],
)
def test_a_caption_that_is_no_text_is_named_when_it_is_read(tmp_path, members):
    path = write_shard(tmp_path / "a.tar", [sample(1, jpg=picture(1), **members)])
    with pytest.raises(BrokenFileError, match=r"Caption .*a\.tar/000000001\.(txt|json): expected"):
        captions(path)


def test_samples_that_lack_the_image_or_the_caption_are_left_out_and_counted(tmp_path):
    samples = [
        sample(0),
        sample(1, jpg=picture(1)),
        sample(2, txt=b"two"),
        sample(3, jpg=b"", txt=b"three"),
        sample(4, jpg=picture(4), txt=b""),
        sample(5, cls=b"5"),
        ("._000000006", {"jpg": b"junk of a Mac", "txt": b"junk"}),
        sample(7, **{"seg.png": picture(7), "txt": b"seven"}),
        sample(8),
    ]
    rows, incomplete = index_shard(str(write_shard(tmp_path / "a.tar", samples)))
    assert (len(rows), incomplete) == (2, 5)
    assert captions(tmp_path / "a.tar") == ["number 0", "number 8"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_folders_and_other_letters_tell_samples_apart(tmp_path, form):
    keys = ["x" * 180 + "1", "x" * 180 + "2", "./a/1", "b.c/1", "日本" * 40, "./é"]
    samples = [(key, {"jpg": picture(1), "txt": key.encode()}) for key in keys]
    path = write_shard(tmp_path / "a.tar", samples, form)
    pairs = ShardPairs.of([str(path)], "mine")
    read = [pairs.read(i) for i in range(len(pairs))]
    assert [record["caption"] for record in read] == keys
    assert [record["file_name"] for record in read] == [f"{path}/{key}.jpg" for key in keys]


def test_members_of_a_sample_need_not_lie_together(tmp_path):
    (one, first), (two, second) = sample(1), sample(2)
    parts = [
        (key, {ending: members[ending]})
        for ending in ("txt", "jpg")
        for key, members in ((one, first), (two, second))
    ]
    assert captions(write_shard(tmp_path / "a.tar", parts)) == ["number 1", "number 2"]


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.77])
def test_a_shard_that_is_cut_off_is_named(tmp_path, kept):
    path = write_shard(tmp_path / "cut.tar", [sample(k) for k in range(8)])
    with open(path, "r+b") as file:
        file.truncate(int(kept * 8 * 2048) + 100)
    with pytest.raises(BrokenFileError, match=r"Shard .*cut\.tar: expected a whole tar .* anew"):
        captions(path)


def test_a_shard_whose_middle_is_damaged_is_not_taken_for_a_shorter_one(tmp_path):
    path = write_shard(tmp_path / "odd.tar", [sample(k) for k in range(8)])
    with open(path, "r+b") as file:
        file.seek(4 * 2048 + 3)
        file.write(b"??????")
    with pytest.raises(BrokenFileError, match=r"Shard .*odd\.tar.*no header at byte 8192"):
        captions(path)


def test_a_compressed_tar_and_what_is_no_tar_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.add(__file__, "b.txt")
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    for name in ("a.tar", "b.tar"):
        with pytest.raises(BrokenFileError, match=f"{name}: expected a whole tar without compress"):
            captions(tmp_path / name)


def test_headers_are_read_once_as_long_as_a_shard_stays_as_it_is(
    tmp_path, label_cache_dir, monkeypatch
):
    looked = []
    index = index_shard
    monkeypatch.setattr(tar_shards, "index_shard", lambda path: looked.append(path) or index(path))
    path = write_shard(tmp_path / "a.tar", [sample(1), sample(2, jpg=picture(2))])
    for _ in range(2):
        assert captions(path) == ["number 1"]
        assert ShardPairs.of([str(path)], "mine").incomplete == 1
    assert len(looked) == 1 and list((label_cache_dir / "pairs").rglob("*.tensor"))

    write_shard(path, [sample(3), sample(2, jpg=picture(2))])  # of the same size
    os.utime(path, ns=(1, 1))
    assert captions(path) == ["number 3"] and len(looked) == 2
    write_shard(path, [sample(k) for k in range(8)])  # of the same time
    os.utime(path, ns=(1, 1))
    assert captions(path) == [f"number {k}" for k in range(8)] and len(looked) == 3

    for kept in (label_cache_dir / "pairs").rglob("*.tensor"):
        kept.write_bytes(kept.read_bytes()[:-1])
    assert captions(path) == [f"number {k}" for k in range(8)] and len(looked) == 4


def test_a_shard_that_changes_while_it_is_used_gives_no_wrong_pair(tmp_path):
    path = write_shard(tmp_path / "a.tar", [sample(1), sample(2)])
    pairs = ShardPairs.of([str(path)], "mine")
    write_shard(path, [sample(1, jpg=b"x" * 3000, txt=b"longer")])
    with pytest.raises(BrokenFileError, match=r"Shard .*a\.tar: expected a member at byte 2048"):
        pairs.read(1)


def test_a_million_pairs_take_sixteen_bytes_each():
    rows = [np.zeros((10_000, 4), np.int32)] * 100
    pairs = ShardPairs([f"{k:05d}.tar" for k in range(100)], rows)
    assert len(pairs) == 1_000_000 and pairs.nbytes == 16_000_800
    assert pairs.place(0) == "00000.tar" and pairs.place(999_999) == "00099.tar"
    assert [pairs.place(k) for k in (9_999, 10_000)] == ["00000.tar", "00001.tar"]
