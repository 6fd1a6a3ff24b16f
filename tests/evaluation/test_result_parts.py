"""Result files that were damaged or changed: refused by file and part, without a traceback."""

import json

import pytest

from stseg.evaluation import evaluation_command as main
from tests.helpers.label_folders import write_folders


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    write_folders(folder, 3)
    arguments = ["--pred", folder / "pred", "--gt", folder / "gt", "--names", folder / "names.json"]
    arguments += ["--output", folder / "a.json", "--bootstrap", "5"]
    assert main(["score", *map(str, arguments)]) == 0
    return folder / "a.json"


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe{\x00", b"<html>", b"[" * 100_000, b'{"format": 3}'],
)
def test_what_is_no_result_is_named(tmp_path, sound, raw, capsys):
    path = tmp_path / "b.json"
    path.write_bytes(raw)
    for arguments in (["report", path, "--output", tmp_path / "b.md"], ["compare", sound, path]):
        assert "b.json: expected a result file" in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "place, value",
    [
        (["classes", 1, "iou"], "0.5"),
        (["classes", 1, "taken_for"], 6),
        (["classes", 0, "name"], None),
        (["classes", 0], None),
        (["classes"], []),
        (["classes"], {"sky": 1}),
        (["confusions", 0, "true"], -1),
        (["confusions", 0, "share"], None),
        (["images", 0, "pACC"], "all"),
        (["images"], 3),
        (["figures", "mIoU_gt"], [1]),
        (["figures", "other"], 0.5),
        (["figures"], None),
        (["definitions"], []),
        (["bootstrap", "level"], 95),
        (["bootstrap", "means"], {}),
        (["bootstrap", "intervals", "mIoU_gt"], [0.1]),
        (["provenance"], "me"),
        (["protocol", "num_classes"], 5),
        (["protocol", "ignore"], 255),
        (["protocol"], []),
        (["protocol", "strange"], 1),
    ],
    ids=lambda x: ".".join(map(str, x)) if isinstance(x, list) and x else None,
)
def test_a_part_of_another_form_is_named(tmp_path, sound, place, value, capsys):
    content = json.loads(sound.read_text())
    part = content["results"][""]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path = tmp_path / "b.json"
    path.write_text(json.dumps(content))
    for arguments in (["report", path, "--output", tmp_path / "b.md"], ["compare", sound, path]):
        assert "b.json: expected " in refused(capsys, *arguments)
    assert not (tmp_path / "b.md").exists()


def test_a_part_that_is_missing_is_named(tmp_path, sound, capsys):
    for key in json.loads(sound.read_text())["results"][""]:
        content = json.loads(sound.read_text())
        del content["results"][""][key]
        path = tmp_path / "b.json"
        path.write_text(json.dumps(content))
        assert key in refused(capsys, "report", path, "--output", tmp_path / "b.md")
