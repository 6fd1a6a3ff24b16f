"""Embeddings in memory and on disk: one copy, bounded, and never a damaged row."""

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.text.cache import EmbeddingCache, WeightsHash

CPU = torch.device("cpu")


class Maker:
    """Unit rows that depend on the entry alone; remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, entries):
        self.asked.append([" ".join(entry) for entry in entries])
        rows = [torch.tensor([[hash(e) % 97 + 1.0, 5.0], [3.0, len(e)]]) for e in entries]
        return F.normalize(torch.stack(rows), dim=-1)


@pytest.fixture
def make():
    return Maker()


def get(cache, make, names, key="key", block=2):
    return cache.get(key, [(name,) for name in names], make, block=block, device=CPU)


def test_rows_stand_where_their_entries_do(make):
    rows = get(EmbeddingCache("", 9), make, "badcab")
    assert make.asked == [["a", "b"], ["c", "d"]]  # each once, neighbours in the alphabet together
    expected = Maker()([(name,) for name in "badcab"])
    assert torch.equal(rows, expected)


def test_what_is_known_is_handed_out_without_a_copy(make):
    cache = EmbeddingCache("", 9)
    first = get(cache, make, "abc")
    assert get(cache, make, "abc").data_ptr() == first.data_ptr()
    (kept,) = cache.memory.values()
    assert kept.data_ptr() == first.data_ptr()


def test_an_edited_vocabulary_takes_the_place_of_the_old_one(make):
    cache = EmbeddingCache("", 9)
    get(cache, make, "abc")
    get(cache, make, "xcba")
    assert make.asked[2:] == [["x"]]
    assert [len(rows) for rows in cache.memory.values()] == [4]
    get(cache, make, "abc")
    assert len(make.asked) == 3


def test_many_vocabularies_leave_only_the_latest_in_memory(make):
    cache = EmbeddingCache("", 4)
    for names in ("ab", "cd", "ab", "ef", "ghijkl"):
        get(cache, make, names)
        assert sum(map(len, cache.memory.values())) <= max(4, len(names))
        assert list(cache.memory)[-1][1] == tuple((name,) for name in names)
    get(cache, make, "ab")
    assert make.asked.count(["a", "b"]) == 2


def test_vocabularies_in_turn_stay_while_there_is_room(make):
    cache = EmbeddingCache("", 4)
    for names in ("ab", "cd", "ab", "cd"):
        get(cache, make, names)
    assert make.asked == [["a", "b"], ["c", "d"]]


def test_keys_share_nothing(make, tmp_path):
    cache = EmbeddingCache(str(tmp_path), 9)
    get(cache, make, "ab", key="one")
    get(cache, make, "ab", key="two")
    assert make.asked == [["a", "b"]] * 2
    assert len(list(tmp_path.rglob("*.tensor"))) == 4


def test_a_run_that_was_stopped_goes_on_where_it_was(make, tmp_path):
    def stopping(entries):
        if ("e",) in entries:
            raise KeyboardInterrupt
        return make(entries)

    with pytest.raises(KeyboardInterrupt):
        get(EmbeddingCache(str(tmp_path), 9), stopping, "abcdef")
    get(EmbeddingCache(str(tmp_path), 9), make, "abcdef")
    assert make.asked == [["a", "b"], ["c", "d"], ["e", "f"]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 not ours"),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: torch.save(torch.zeros(2, 2), path),
    ],
)
def test_a_damaged_file_is_made_anew_with_a_warning(make, tmp_path, caplog, damage):
    first = get(EmbeddingCache(str(tmp_path), 9), make, "ab")
    path = sorted(tmp_path.rglob("*.tensor"))[0]
    damage(path)
    again = get(EmbeddingCache(str(tmp_path), 9), make, "ab")
    assert torch.equal(again, first)
    assert caplog.text.count(path.name) == 1
    assert len(make.asked) == 2 and len(make.asked[1]) == 1
    get(EmbeddingCache(str(tmp_path), 9), make, "ab")
    assert len(make.asked) == 2


def test_a_folder_that_cannot_be_written_is_told_once(make, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    rows = get(EmbeddingCache(str(tmp_path / "file"), 9), make, "abcd")
    assert len(rows) == 4
    assert caplog.text.count("cannot be written") == 1
    assert "cannot be used" not in caplog.text


def test_weights_are_hashed_again_only_when_written_or_replaced():
    module, weights = torch.nn.Linear(2, 2), WeightsHash()
    first = weights.of(module)
    stamp = weights.stamp
    assert weights.of(module) == first and weights.stamp is stamp
    with torch.no_grad():
        module.weight += 1
    second = weights.of(module)
    module.bias = torch.nn.Parameter(module.bias.detach() + 1)
    assert len({first, second, weights.of(module)}) == 3
