"""Config keys: all commented, none dead."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

import stseg
from stseg.self_training import GuardSettings

ROOT = Path(stseg.__file__).parent
KEYS = "".join(
    (ROOT / "config" / f"{name}.py").read_text(encoding="utf-8")
    for name in (
        "data",
        "model",
        "mask_head_keys",
        "ebseg_keys",
        "cel_keys",
        "pgseg_keys",
        "self_training",
        "solver",
    )
)
CODE = "".join(
    p.read_text(encoding="utf-8") for p in sorted(ROOT.rglob("*.py")) if p.parent != ROOT / "config"
)


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def own_keys():
    cfg = get_cfg()
    before = set(leaves(cfg))
    stseg.add_stseg_config(cfg)
    return sorted(set(leaves(cfg)) - before)


#: Read by the names of fields, as tests/self_training/test_guard.py shows one by one.
BY_FIELD = {f"SELF_TRAINING.GUARD.{field.name.upper()}" for field in fields(GuardSettings)}


@pytest.mark.parametrize("key", own_keys())
def test_every_key_of_ours_is_read(key):
    is_read = key in BY_FIELD or re.search(rf"\.{key.split('.')[-1]}\b", CODE)
    assert is_read, f"{key} is defined and never read"


def test_every_key_is_set_below_a_comment():
    lines = KEYS.splitlines()
    bare = []
    for before, line in zip(lines, lines[1:], strict=False):
        sets_value = re.match(r" +(cfg|head)\.[A-Z_.]+ = (?!CN\(\))", line)
        told = before.lstrip().startswith("#") or re.match(r" +(cfg|head)\.", before)
        if sets_value and not told and not before.strip().startswith('"""'):
            bare.append(line.strip())
    # The first key of a function stands below its docstring only where that explains it.
    assert bare == []


def test_adding_the_keys_twice_changes_nothing():
    once, twice = get_cfg(), get_cfg()
    stseg.add_stseg_config(once)
    stseg.add_stseg_config(twice)
    stseg.add_stseg_config(twice)
    assert once == twice
