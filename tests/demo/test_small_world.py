import re

import numpy as np
import pytest
from PIL import Image

from demo.small_world import fresh_scenes, main, share_right
from stseg.small_world.names import CLASS_NAMES, UNSEEN_NAMES
from tests.helpers.colour_net import ColourTestNet


def test_scenes_are_repeatable_and_hold_the_thing_asked_for():
    scenes = fresh_scenes(2, seed=5)
    again = fresh_scenes(2, seed=5)
    other = fresh_scenes(2, seed=6)
    assert all((a[0].image == b[0].image).all() for a, b in zip(scenes, again, strict=True))
    assert any((a[0].image != b[0].image).any() for a, b in zip(scenes, other, strict=True))
    for scene, phrase in scenes:
        assert phrase in scene.phrases and phrase.noun in UNSEEN_NAMES


def test_scenes_are_segmented_written_and_named(tmp_path, capsys):
    assert ColourTestNet  # importing it registers it
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}\n"
        "INPUT: {MIN_SIZE_TEST: 0}\n"
    )
    output = tmp_path / "out"
    assert main(["--config-file", str(config), "--output", str(output), "--scenes", "2"]) == 0
    text = capsys.readouterr().out
    for number in (1, 2):
        Image.open(output / f"scene_{number}_overlay.jpg").load()
        Image.open(output / "scenes" / f"scene_{number}.png").load()
        assert f"scene_{number}_overlay.jpg" in text
    Image.open(output / "overview.jpg").load()
    assert re.search(r"called '(striped|dotted|checked) \w+ \w+'", text)


def run_with_photograph(tmp_path, capsys):
    """A demo of one scene whose photograph is answered by what ships."""
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}\n"
        "INPUT: {MIN_SIZE_TEST: 0}\n"
    )
    flags = ["--config-file", str(config), "--output", str(tmp_path / "out"), "--scenes", "1"]
    assert main(flags) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("photos_extra")
def test_a_photograph_stands_beside_the_scenes(tmp_path, capsys):
    text = run_with_photograph(tmp_path, capsys)
    assert "photograph_overlay.jpg" in text and "street sign" in text
    Image.open(tmp_path / "out" / "photograph_overlay.jpg").load()


@pytest.mark.usefixtures("without_photos_extra")
def test_without_the_extra_the_demo_says_how_to_get_the_photograph(tmp_path, capsys):
    text = run_with_photograph(tmp_path, capsys)
    assert "no photograph: " in text and "pip install 'stseg[photos]'" in text
    assert not (tmp_path / "out" / "photograph_overlay.jpg").exists()


def test_a_thing_called_by_the_phrase_that_was_asked_for_is_right():
    seen = next(i for i, name in enumerate(CLASS_NAMES) if name not in UNSEEN_NAMES)
    asked, other = (CLASS_NAMES.index(name) for name in UNSEEN_NAMES[:2])
    names = [*CLASS_NAMES, "striped red thing"]
    phrase = len(CLASS_NAMES)
    truth = np.array([seen] * 4 + [asked] * 4 + [other] * 2)
    labels = np.array([seen] * 3 + [phrase] + [phrase, phrase, asked, seen] + [other, phrase])
    words = share_right(labels, truth, names, asked)
    assert words.startswith("right: 70% of all pixels, 67% of those of unseen names; 50% of the ")


@pytest.mark.parametrize("flags", [["--scenes", "0"], ["--seed", "-1"], ["--seed", "9999999"]])
def test_flags_out_of_range_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        main(flags)
    assert stop.value.code == 2 and flags[0] in capsys.readouterr().err
