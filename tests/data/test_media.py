from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stseg.data.media import find_media, unique_stems


def test_files_folders_and_globs_are_found_once_and_in_order(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "film.mp4", "sub/c.png", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(*inputs):
        return [p.name for p in find_media([str(tmp_path / i) for i in inputs])]

    assert names("") == ["a.PNG", "b.jpg", "film.mp4", "odd[1].jpg"]
    assert names("b.jpg", "*.jpg") == ["b.jpg", "odd[1].jpg"]
    assert names("odd[1].jpg", "notes.txt") == ["odd[1].jpg", "notes.txt"]
    assert names("**/*.png") == ["c.png"] or names("**/*.png") == ["a.PNG", "c.png"]


@pytest.mark.parametrize("text", ["nowhere.jpg", "*.webp", "empty", "nofolder/"])
def test_input_that_leads_nowhere_is_named(tmp_path, text):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="--input.*found"):
        find_media([str(tmp_path / text)])


def test_stems_of_one_name_are_told_apart():
    paths = ["x/a.jpg", "y/a.png", "y/A.jpg", "a-2.jpg", "a.mp4", "clip.mp4", "clip_000001.png"]
    stems = unique_stems([Path(p) for p in paths])
    assert stems == ["a", "a-2", "A-3", "a-2-2", "a-4", "clip-2", "clip_000001"]


@given(st.lists(st.sampled_from(["a", "A", "a-2", "b"]), max_size=8))
def test_stems_never_collide(names):
    paths = [Path(f"{i}") / f"{name}.jpg" for i, name in enumerate(names)]
    assert len({stem.casefold() for stem in unique_stems(paths)}) == len(paths)
