import json
import re

import open_clip
import pytest

from stseg.weights import catalog, find
from stseg.weights.entries import TABLE

ENTRIES = list(catalog().values())


def test_the_table_holds_what_was_asked_for():
    systems = {entry.system for entry in ENTRIES}
    assert systems == {"SED", "SAM", "CLIP", "CAT-Seg", "EBSeg", "PGSeg", "STSeg"}
    assert len(ENTRIES) == 17


def test_no_name_and_no_file_stands_for_two_things():
    names = json.loads(TABLE.read_text(), object_pairs_hook=lambda pairs: [k for k, _ in pairs])
    assert len(names) == len(set(names))
    files = [entry.file for entry in ENTRIES if entry.file]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_whole(entry):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*[BLH]?", entry.name)
    assert entry.key in ("MODEL.WEIGHTS", "MODEL.SAM.CHECKPOINT", "MODEL.CLIP.PRETRAINED")
    assert entry.licence and entry.page and "/" not in entry.file
    assert entry.url.startswith(("https://", "stseg://")) if entry.file else entry.note
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert all(0 < figure < 100 for figure in entry.figures.values())
    assert bool(entry.figures) == bool(entry.figures_by)
    if entry.config:
        assert entry.config_file().is_file() and entry.system in ("SED", "EBSeg", "PGSeg", "STSeg")


@pytest.mark.parametrize("size", "BL")
def test_clips_are_those_that_open_clip_means_by_the_tags_of_our_configs(size, monkeypatch):
    from stseg.config import setup_cfg

    clip = setup_cfg(find(f"sed-convnext{size}").config_file()).MODEL.CLIP
    hub = open_clip.get_pretrained_cfg(clip.NAME, clip.PRETRAINED)["hf_hub"]
    assert f"huggingface.co/{hub}" in find(f"clip-convnext{size}").url
    assert find(f"clip-convnext{size}").url.endswith(open_clip.pretrained.HF_WEIGHTS_NAME)


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"'SED-convnextb'. Did you mean sed-convnextB\?"):
        find("SED-convnextb")
    with pytest.raises(ValueError, match=r"expected a name .*got 'sed-b'. Did you mean sed-conv"):
        find("sed-b")


def test_what_cannot_predict_says_what_it_is_for():
    with pytest.raises(ValueError, match=r"MODEL.SAM.CHECKPOINT weights://sam-vit-b\."):
        find("sam-vit-b").config_file()
    with pytest.raises(ValueError, match="CAT-Seg, which .* not built here yet"):
        find("catseg-vitB").config_file()
