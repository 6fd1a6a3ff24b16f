import json

import pytest
from detectron2.utils.file_io import PathManager

from stseg.weights import resolve

ASSET = "stseg://templates/single.json"


def test_shipped_files_open_through_detectron2():
    assert PathManager.isfile(ASSET) and PathManager.exists(ASSET)
    assert "single.json" in PathManager.ls("stseg://templates")
    with PathManager.open(ASSET) as file:
        assert json.load(file)["name"] == "single"


def test_shipped_path_resolves_to_a_plain_one_and_a_plain_one_to_itself(tmp_path):
    assert json.loads(open(resolve(ASSET)).read())["name"] == "single"
    assert resolve(str(tmp_path)) == str(tmp_path)


def test_path_that_does_not_ship_is_named():
    with pytest.raises(FileNotFoundError, match="stseg://nope.pt"):
        resolve("stseg://nope.pt")


def test_shipped_files_are_not_written_and_do_not_lead_outside():
    with pytest.raises(OSError, match="only for reading"):
        PathManager.open(ASSET, "w")
    with pytest.raises(ValueError, match="inside the package"):
        resolve("stseg://../structures.py")
