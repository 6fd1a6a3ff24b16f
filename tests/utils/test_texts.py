"""Texts in any encoding, JSON of any depth, names that look alike."""

import os
import subprocess
import sys
import unicodedata

import pytest

from stseg.utils import (
    did_you_mean,
    name_key,
    nearest,
    parse_json,
    read_json,
    read_text,
    spelling_on_disk,
)


@pytest.mark.parametrize("text", ["", "é猫\n", "a\r\nb", "\u2028"])
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig"])
def test_utf_8_comes_back_as_it_was_written(tmp_path, text, mark):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(mark))
    assert read_text(path, "Names") == text


def test_what_is_no_text_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Names: expected a text file, .*nowhere"):
        read_text(tmp_path / "nowhere", "Names")
    with pytest.raises(ValueError, match="Names: expected a text file, got the folder"):
        read_text(tmp_path, "Names")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "{", "[1,]"])
def test_json_that_is_none_is_a_value_error(tmp_path, text):
    with pytest.raises(ValueError):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"Names: expected JSON, got '.*a\.json': "):
        read_json(path, "Names")


def test_only_near_words_are_suggested():
    known = ["ade20k_150", "voc_20", "Traffic Light"]
    assert did_you_mean("ade20k150", known) == " Did you mean ade20k_150?"
    assert did_you_mean("TRAFIC LIGHT", known) == " Did you mean Traffic Light?"
    assert did_you_mean("zebra", known) == did_you_mean("x", []) == ""
    assert nearest("voc_21", ["voc_20", "voc_20b"], 2) == ["voc_20", "voc_20b"]


@pytest.mark.parametrize("other", ["Cafe\u0301", " CAFÉ", "ca\u200bfé", "\ufeffcafé", "ｃafé"])
def test_one_key_for_all_that_looks_like_one_name(other):
    assert name_key(other) == name_key("café") != name_key("cafe")


def test_a_file_is_found_under_the_other_form_of_its_name(tmp_path):
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        path = tmp_path / form / unicodedata.normalize(form, "é.png")
        path.parent.mkdir()
        path.write_bytes(b"")
        asked = path.with_name(unicodedata.normalize(other, "é.png"))
        assert spelling_on_disk(asked).samefile(path)
    assert spelling_on_disk(tmp_path / "é.png") is spelling_on_disk(tmp_path) is None


def test_the_package_hides_what_torch_says_of_its_jit_and_nothing_else():
    code = (
        "import warnings, stseg\n"
        "for text in ('`torch.jit.script` is deprecated.', 'something else'):\n"
        "    warnings.warn(text, FutureWarning, stacklevel=1)"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert "something else" in found.stderr and "torch.jit" not in found.stderr
