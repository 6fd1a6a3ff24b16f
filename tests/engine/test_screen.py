"""The screen is for people, log.txt keeps everything."""

import io
import logging
import os
import sys
import warnings
from contextlib import redirect_stdout

import pytest

from stseg.engine import screen
from stseg.utils import hide_old_ways


@pytest.fixture
def shown(run_train_net):
    """Runs train_net; returns what was on the screen."""

    def start(*flags, **more):
        with redirect_stdout(io.StringIO()) as said:
            run_train_net(*flags, **more)
        return said.getvalue()

    return start


@pytest.fixture
def log():
    """A logger as `setup_logger` leaves it, with the filter on its screen; returns what it says."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.addFilter(screen._ForPeople())

    def say(name, level, text, at=0.0):
        record = logging.LogRecord(name, level, "", 0, text, (), None)
        record.created = 1e9 + at
        before = said.tell()
        handler.handle(record)
        return said.getvalue()[before:].strip()

    return say


def test_a_run_is_told_on_one_page_and_the_file_has_the_rest(shown, tmp_path):
    mine = io.StringIO()
    handler = logging.StreamHandler(mine)
    logging.getLogger("detectron2").addHandler(handler)  # a person's own
    try:
        text = shown()
    finally:
        logging.getLogger("detectron2").removeHandler(handler)
    file = (tmp_path / "run" / "log.txt").read_text()
    assert len(text.splitlines()) <= 40
    for part in (
        "1 x cpu",
        "10 images to train on",
        "M parameters learn",
        "iter: 2  total_loss",
        "mostly taken for",
        "model_final.pth, model_best.pth",
        "results.json, inference/",
    ):
        assert part in text, part
    for part in ("Running with full config", "Environment info", "Model:\nEngineTestNet("):
        assert file.count(part) == 1 and part not in text, part
    assert "Running with full config" in mine.getvalue()
    assert "clip.weight" in (tmp_path / "run" / "parameters.txt").read_text()


def test_verbose_shows_what_the_file_keeps(shown, tmp_path):
    text = shown("--verbose")
    assert "Running with full config" in text and "EngineTestNet(" in text
    assert len(text.splitlines()) >= len((tmp_path / "run" / "log.txt").read_text().splitlines())


def test_warnings_always_come_through_and_chatter_of_others_never(log):
    for name in ("stseg.data", "detectron2.data.common", "d2.data.common", "fvcore.common"):
        assert log(name, logging.WARNING, "beware") == "beware"
        assert bool(log(name, logging.INFO, "by the way")) == (name == "stseg.data")
        assert not log(name, logging.DEBUG, "phase")
    assert log("detectron2.utils.events", logging.INFO, "iter: 3") == "iter: 3"


def test_a_long_evaluation_says_once_a_minute_how_far_it_is(log):
    said = [
        log("detectron2.evaluation.evaluator", logging.INFO, f"Inference done {k}/99", at=5 * k)
        for k in range(25)
    ]
    assert [k for k, text in enumerate(said) if text] == [0, 12, 24]
    assert not log("detectron2.evaluation.evaluator", logging.INFO, "Start inference", at=999)


def test_old_ways_of_others_are_hidden_unless_a_person_wants_to_see_them(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "")
    monkeypatch.delenv("PYTHONWARNINGS")
    monkeypatch.setattr(sys, "warnoptions", ["always"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hide_old_ways()
        warnings.warn("seen", FutureWarning, stacklevel=1)
        sys.warnoptions = []
        hide_old_ways()
        warnings.warn("not seen", FutureWarning, stacklevel=1)
        warnings.warn("seen, too", UserWarning, stacklevel=1)
    assert [str(w.message) for w in caught] == ["seen", "seen, too"]


def test_what_an_older_run_wrote_is_not_told(tmp_path, caplog):
    for name, at in (("model_final.pth", 100), ("results.json", 300), ("config.yaml", 100)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    screen.logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, screen.logger.name)
    screen.tell_written(str(tmp_path), since=200)
    screen.logger.removeHandler(caplog.handler)
    assert "results.json" in caplog.text and "config.yaml" in caplog.text
    assert "model_final" not in caplog.text
