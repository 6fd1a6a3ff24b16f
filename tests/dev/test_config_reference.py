"""The page of config keys is made of the comments above them."""

import re

import pytest
from detectron2.config import get_cfg

from stseg.config import add_stseg_config
from stseg.config.table import leaves
from tests.helpers.dev_scripts import load_script


@pytest.fixture(scope="module")
def reference():
    return load_script("config_reference")


def test_the_page_is_as_the_comments_are_now(reference):
    cure = "run .venv/bin/python dev/config_reference.py"
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), cure


def test_it_has_every_key_that_is_ours_once_and_each_is_explained(reference):
    text = reference.page()
    told = re.findall(r"^- `([^`]+)`: ", text, re.MULTILINE)
    before, after = get_cfg(), get_cfg()
    add_stseg_config(after)
    known = dict(leaves(before))
    ours = {key for key, value in leaves(after) if key not in known or known[key] != value}
    assert ours and ours <= set(told) and len(told) == len(set(told))
    assert not re.findall(r"^- `([^`]+)`: `[^\n]*\n\n[-#]", text, re.MULTILINE)


def test_keys_below_one_comment_stand_together(reference):
    source = (
        "def add_x(cfg):\n    # One.\n    cfg.A = 1\n    # Two,\n    # of both.\n"
        "    head = cfg.B = CN()\n    head.C = 2\n    head.D = 3\n\n\ndef other():\n    pass\n"
    )
    assert list(reference.groups_of(source)) == [
        (["A"], "One."),
        (["B.C", "B.D"], "Two, of both."),
    ]
