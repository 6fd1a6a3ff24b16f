import io
import sys
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from stseg.render import html
from stseg.render.html import Figure, environment, render_page


@pytest.fixture
def parts():
    return environment().get_template("parts.html").module


def squeezed(text):
    return "".join(line.strip() for line in text.splitlines())


def test_a_page_has_its_head_and_nothing_from_elsewhere():
    page = render_page("sheet.html", title="Look", summary=[], cards=[]).decode()
    assert page.startswith("<!DOCTYPE html>\n") and page.endswith("</html>\n")
    assert page.count("Look") == 2 and "<title>Look</title>" in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'\""
    assert policy in page and "://" not in page
    assert (html.TEMPLATES / "style.css").read_text() in page


def test_only_the_page_with_ticks_may_run_scripts():
    parts = dict.fromkeys(("found", "absent", "cards", "summary", "evidence"), ())
    texts = dict.fromkeys(("title", "verdict", "veto_text", "nothing", "refined"), "")
    words = {"seen": (), "names": ()}
    page = render_page(
        "self_training.html", images=0, vocabulary=words, remarks={}, advice=None, **parts, **texts
    ).decode()
    assert "style-src 'unsafe-inline'; script-src 'unsafe-inline'\"" in page
    assert page.count("<script>") == 1


def test_names_that_are_no_valid_unicode_can_be_written():
    page = render_page("sheet.html", title="bad\udcff", summary=[], cards=[])
    assert b"<h1>bad&#56575;</h1>" in page


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="'cards' is undefined"):
        render_page("sheet.html", title="", summary=[])


def test_heads_with_a_hash_stand_over_numbers(parts):
    table = squeezed(parts.text_table(["Name", "# Count"], [["<a>", "3"]]))
    assert '<th>Name</th><th class="number">Count</th>' in table
    assert '<td>&lt;a&gt;</td><td class="number">3</td>' in table


def test_a_figure_holds_its_picture(parts):
    pixels = np.full((4, 6, 3), 200, dtype=np.uint8)
    figure = Figure.of('a "b"', pixels, quality=90)
    assert (figure.width, figure.height) == (6, 4)
    assert Image.open(io.BytesIO(figure.jpeg)).size == (6, 4)
    found = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.update({tag: dict(attributes)})

    Reader().feed(str(parts.figure(figure)))
    kind, data = found["img"].pop("src").split(",")
    assert found["img"] == {"width": "6", "height": "4", "alt": 'a "b"'}
    assert kind == "data:image/jpeg;base64" and b64decode(data) == figure.jpeg


def test_a_class_has_its_colour(parts):
    swatch = '<span class="swatch" style="background:#0000ff"></span>'
    assert str(parts.class_name((0, 0, 255), "x & y")) == f"{swatch}x &amp; y"


def test_marks_and_tiles(parts):
    assert str(parts.seen_mark(True)) == '<span class="mark seen">seen</span>'
    assert str(parts.seen_mark(False)) == '<span class="mark unseen">unseen</span>'
    tile = '<div class="tile"><b>&lt;3</b><span>images</span></div>'
    assert squeezed(parts.tiles([("images", "<3")])) == f'<div class="tiles">{tile}</div>'
    assert not parts.tiles([])


def test_a_page_without_jinja2_says_how_to_get_it(monkeypatch):
    environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match="expected the package jinja2.*pip install jinja2"):
        render_page("sheet.html", title="", summary=[], cards=[])
