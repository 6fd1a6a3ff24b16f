"""The HTML pages together: what comes from outside arrives as text, and Python holds no HTML."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from stseg.evaluation.label_images import pair_folders
from stseg.evaluation.report import html_page
from stseg.evaluation.report_pictures import ImageCard, Picture
from stseg.evaluation.scoring import Settings, score_pairs, summarise
from stseg.render.html import TEMPLATES
from stseg.self_training.page import write_page
from stseg.self_training.page_advice import Advice
from stseg.structures import Segmentation, Vocabulary
from stseg.tools.sheet import Card, Sheet
from stseg.tools.sheet import write_page as write_sheet_page
from tests.helpers.label_folders import NAMES, write_folders
from tests.helpers.report_data import make_entry, make_record

ROOT = Path(__file__).resolve().parents[1]


class Shown(HTMLParser):
    """Start tags with the names of their attributes, and all that they and the text say."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.said = [], []
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, *(name for name, _ in attributes)))
        self.said += [value for _, value in attributes if value]

    def handle_data(self, data):
        self.said.append(data)


class Outside:
    """Makes texts, and remembers for which places."""

    def __init__(self, pattern):
        self.pattern, self.places = pattern, []

    def __call__(self, place):
        self.places.append(place)
        return self.text(place)

    def text(self, place):
        return self.pattern.replace("PLACE", place)


PIXELS = np.zeros((9, 12, 3), dtype=np.uint8)


def evaluation_page(folder, outside):
    write_folders(folder, 3)
    names = [outside(f"class {name[0]}") for name in NAMES]
    score = score_pairs(
        pair_folders(folder / "pred", folder / "gt"),
        Settings(len(NAMES), boundary=True, replicates=20),
    )
    vocabulary = Vocabulary.parse([[name] for name in names])
    result = summarise(score, replace(vocabulary, seen=(True, False) * 3))
    result = replace(
        result,
        protocol=replace(result.protocol, data_set=outside("data set")),
        figures={**result.figures, outside("figure"): 0.5},
        definitions={**result.definitions, outside.text("figure"): outside("definition")},
        provenance={
            "command": outside("command"),
            "weights": outside("weights"),
            outside("key"): [outside("first"), outside("second")],
            "versions": {outside("package"): outside("version")},
        },
    )
    pictures = [Picture(outside("caption"), PIXELS)]
    card = ImageCard(outside("image"), 0.5, pictures, [(i, 0.5, 0.1) for i in range(len(NAMES))])
    return html_page(result, outside("title"), [card], outside("note"))


def self_training_page(folder, outside):
    names = [outside(f"class {i}") for i in range(4)]
    vocabulary = replace(Vocabulary.parse([[n] for n in names]), seen=(True, False, True, False))
    records = [
        make_record(0, outside("recorded name"), remark=outside("by hand")),
        replace(make_record(1, "dog", accepted=False), reason=outside("reason")),
        replace(make_record(1, "dog", accepted=False), reason=outside("other reason")),
    ]
    entry = make_entry(outside("image"), names, with_before=True)
    entry = replace(entry, label=replace(entry.label, classes=tuple(records)))
    path, _ = write_page(
        folder / "page.html",
        [entry],
        title=outside("title"),
        vocabulary=vocabulary,
        summary=[(outside("what"), outside("value"))],
        verdict=outside("verdict"),
        evidence=[[outside("head")], [outside("cell")]],
        remarks={0: outside("remark")},
        before_caption=outside("before"),
        advice=Advice(
            outside("found little"), (outside("cure"),), ((outside("column"),), (outside("share"),))
        ),
        veto_text=outside("veto file"),
    )
    return path.read_bytes()


def sheet_page(folder, outside):
    label = np.arange(9 * 12).reshape(9, 12) % 2
    names = (outside("class 0"), outside("class 1"))
    sheet = Sheet(
        outside("name"),
        ((outside("what"), outside("value")),),
        (
            Card(outside("image"), "", PIXELS, label, names),
            Card(outside("other image"), outside("remark"), PIXELS, None, ()),
        ),
    )
    write_sheet_page(folder / "page.html", sheet)
    return (folder / "page.html").read_bytes()


def notebook_piece(folder, outside):
    names = (outside("class 0"), outside("class 1"))
    labels = np.arange(9 * 12).reshape(9, 12) % 3 - 1
    return Segmentation(labels, np.ones((9, 12)), names)._repr_html_().encode()


@pytest.mark.parametrize("make", [evaluation_page, self_training_page, sheet_page, notebook_piece])
@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert('PLACE')</script>",
        '"><img src=x onerror="alert(`PLACE`)">',
        "' onclick='PLACE' &lt;b&gt; &amp; & ]]> --> </style></title></textarea>",
        "{{ PLACE }} {% raw %} {# PLACE #} ${PLACE} {PLACE} %(PLACE)s",
    ],
    ids=["script", "attribute", "entities", "template"],
)
def test_hostile_text_arrives_as_text_wherever_it_comes_from(make, hostile, tmp_path):
    outside, harmless = Outside(hostile), Outside("PLACE")
    page = make(tmp_path, outside)
    shown = Shown(page)
    assert shown.tags == Shown(make(tmp_path, harmless)).tags
    said = "\n".join(shown.said)
    for place in outside.places:
        assert outside.text(place) in said, place
        if set("<>\"'&") & set(hostile):
            assert outside.text(place).encode() not in page, place


# With or without attributes, so that <name> of a docstring is none.
_TAGS = (
    "a|article|b|body|br|button|code|details|div|em|figcaption|figure|form|h[1-6]|head|html|i|"
    "iframe|img|input|label|li|link|main|meta|ol|option|p|pre|script|section|select|small|span|"
    "strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|u|ul|video"
)
HTML = re.compile(rf"</?({_TAGS})(\s*/?>|\s[^<>]*=)|&(\w+|#\d+);|<!doctype|\bMarkup\b", re.I)


def html_in(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{path}:{k}: {line}" for k, line in enumerate(lines, start=1) if HTML.search(line)]


def test_no_python_file_holds_html():
    sources = [
        path for top in ("stseg", "demo", "benchmarks") for path in (ROOT / top).rglob("*.py")
    ]
    assert len(sources) > 100
    assert not [found for path in sources for found in html_in(path)]


@pytest.mark.parametrize(
    "line",
    ['f"<td>{cell}</td>"', "'<div class=\"tile\">'", "'<img src='", '"</table>"', '"a&nbsp;b"',
     "<br/>", "Markup(text)"],
)  # fmt: skip
def test_html_would_be_found(tmp_path, line):
    path = tmp_path / "bad.py"
    path.write_text(f"ok = 1\n{line}\n")
    assert html_in(path) == [f"{path}:2: {line}"]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_lets_text_through_unescaped(path):
    template = path.read_text(encoding="utf-8")
    assert not re.findall(r"\bsafe\b|autoescape", template)
    assert not re.findall(r"=\s*\{\{", template)  # without quotes a blank ends an attribute
    for raw in re.findall(r"<script>.*?</script>", template, re.DOTALL):
        assert "{{" not in raw and "{%" not in raw  # escaping is for HTML, not for JavaScript
