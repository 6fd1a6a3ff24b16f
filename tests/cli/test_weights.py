import json
import re
from io import BytesIO

import pytest
import torch

from stseg.cli import stseg_command
from stseg.cli.weights import _EXAMPLES
from stseg.weights import catalog, find
from tests.helpers.tiny_model import tiny_sam


def file_of(state):
    buffer = BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def stocked(shop):
    """Files with the keys of SAM, EBSeg and SED under their names; others hold nothing to read."""
    shop.files |= {entry.file: b"PK broken" for entry in catalog().values()}
    shop.files[find("sam-vit-b").file] = file_of(tiny_sam().state_dict())
    ebseg = {"ov_classifier.a": torch.zeros(1), "sem_seg_head.b": torch.zeros(1)}
    shop.files[find("ebseg-vitB").file] = file_of({"model": ebseg})
    sed = ("transformer.decoder1.cnext.gamma", "clip_model.visual.trunk.stem.0.bias")
    sed = {f"sem_seg_head.predictor.{key}": torch.zeros(1) for key in sed}
    shop.files[find("sed-convnextB").file] = file_of({"model": sed})
    return shop


def run(capsys, *argv):
    try:
        code = stseg_command(["weights", *argv])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr()


def rows(text):
    return {line.split()[0]: line for line in text.splitlines()[2:]}


def test_list_says_what_is_here(stocked, capsys):
    assert run(capsys, "get", "ebseg-vitB")[0] == 0
    code, text = run(capsys, "list")
    assert code == 0 and set(rows(text.out)) == set(catalog())
    assert re.search(r"EBSeg +0 MB +yes +code MIT", rows(text.out)["ebseg-vitB"])
    assert re.search(r"EBSeg +\? +no ", rows(text.out)["ebseg-vitL"])
    assert re.search(r"STSeg +3 MB +yes +Apache-2.0", rows(text.out)["stseg-mini"])


def test_list_as_json_holds_the_whole_table(stocked, capsys):
    found = {row["name"]: row for row in json.loads(run(capsys, "list", "--json")[1].out)}
    assert found["sed-convnextB"]["figures"]["A-150"] == 31.8
    assert found["sed-convnextB"]["here"] is None
    assert found["sam-mini"]["here"].endswith("sam_mini.pt")


def test_get_prints_a_path_for_each_name(stocked, capsys):
    code, text = run(capsys, "get", "sam-vit-b", "stseg-mini")
    assert code == 0
    assert [line.rsplit("/", 1)[1] for line in text.out.splitlines()] == [
        "sam_vit_b_01ec64.pth",
        "stseg_mini.pth",
    ]


def test_a_slip_in_any_name_shows_before_the_first_download(stocked, capsys):
    code, text = run(capsys, "get", "sam-vit-b", "sam-vit-x")
    assert code == 1 and "Did you mean sam-vit-" in text.err and not stocked.requests


def test_check_is_content_with_what_is_right_and_with_what_is_not_here(stocked, capsys):
    run(capsys, "get", "sam-vit-b", "ebseg-vitB")
    code, text = run(capsys, "check")
    assert code == 0
    assert (
        len(re.findall(r"^not here  [\w-]+$", text.out, flags=re.MULTILINE)) == len(catalog()) - 7
    )
    assert re.search(r"good +sam-vit-b: .*\.pth, sha256 [0-9a-f]{64}, as first seen", text.out)
    assert re.search("good +sam-mini: .*, that of the table", text.out)


def test_check_finds_another_system_a_broken_file_and_changed_bytes(stocked, capsys):
    stocked.files[find("ebseg-vitL").file] = file_of(tiny_sam().state_dict())
    run(capsys, "get", "sam-vit-b", "sam-vit-l", "ebseg-vitL")
    path = run(capsys, "get", "sam-vit-b")[1].out.strip()
    with open(path, "ab") as file:
        file.write(b"one more")
    code, text = run(capsys, "check", "sam-vit-b", "sam-vit-l", "ebseg-vitL", "ebseg-vitB")
    assert code == 1
    lines = text.out.splitlines()
    assert re.match(r"WRONG +sam-vit-b: expected .* with sha256 \w+, as it was on", lines[0])
    assert re.match("WRONG +.*sam_vit_l.*: expected a torch checkpoint", lines[1])
    assert re.match("WRONG +ebseg-vitL: expected a file of EBSeg, .* looks like SAM", lines[2])
    assert lines[3] == "not here  ebseg-vitB"


@pytest.mark.usefixtures("without_photos_extra")
def test_what_takes_an_extra_that_is_not_here_is_nothing_wrong(capsys):
    code, text = run(capsys, "check", "clip-photo", "photo-mini")
    assert code == 0 and "not here  clip-photo" in text.out and "stseg[photos]" in text.out
    assert "good      photo-mini" in text.out


def test_the_examples_of_help_run(stocked, capsys):
    examples = re.findall("^  stseg weights (.*)", _EXAMPLES, flags=re.MULTILINE)
    assert len(examples) == 3
    assert [run(capsys, *example.split())[0] for example in examples] == [0, 0, 0]
