"""The page as a person sees it. Skipped where no browser is installed."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from stseg.self_training.page import write_page
from stseg.self_training.page_advice import Advice
from stseg.self_training.veto import Veto
from stseg.structures import Vocabulary
from tests.helpers.report_data import make_entry

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
NAMES = ('cat & "dog"', "<b>cow</b>", "zebra: plain's", "fox")
IMAGES = ('one "1".jpg', "<two>&amp;.jpg", "#3: ünï's.jpg")

pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason=f"NOT CHECKED: the report page in a browser. Install one of {', '.join(BROWSERS)}.",
)


def browse(tmp_path, path, *arguments):
    """Standard output and the console's lines."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
        "--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=1280,1600",
        f"--user-data-dir={tmp_path / 'profile'}", *arguments, path.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, timeout=120, check=True)
    log = result.stderr.decode("utf-8", errors="replace")
    return result.stdout.decode("utf-8"), [line for line in log.splitlines() if "CONSOLE" in line]


def composed(dom):
    """The text of the veto file that a script has put into an attribute, as JSON."""
    return json.loads(html.unescape(re.search(r'data-text="([^"]*)"', dom)[1]))


@pytest.fixture
def page(tmp_path):
    vocabulary = Vocabulary.parse([[name] for name in NAMES]).with_seen("fox")
    entries = (make_entry(name, NAMES, with_before=True) for name in IMAGES)
    return write_page(
        tmp_path / "page.html",
        entries,
        title="Look",
        vocabulary=vocabulary,
        evidence=[("figure", "start", "now"), ("pixels of which the start was sure", "1", "2")],
        remarks={1: "vetoed"},
        advice=Advice("Found", ("Cure " * 40,), (("Threshold", "# Share"), ("0.9", "1.0%"))),
    )[0]


def test_all_pictures_are_shown_without_an_error(tmp_path, page):
    dom, console = browse(tmp_path, page, "--dump-dom")
    assert not console
    assert 'data-pictures="12 of 12"' in dom


def test_a_broken_picture_and_an_error_would_be_seen(tmp_path, page):
    text = page.read_text(encoding="utf-8")
    text = text.replace("data:image/jpeg;base64,/9j", "data:image/jpeg;base64,AAAA", 1)
    text = text.replace('"use strict";', '"use strict"; setTimeout(() => missing(), 1);')
    page.write_text(text, encoding="utf-8")
    dom, console = browse(tmp_path, page, "--dump-dom")
    assert 'data-pictures="11 of 12"' in dom
    assert console and "missing is not defined" in console[0]


def test_the_screenshot_is_not_blank(tmp_path, page):
    target = tmp_path / "shot.png"
    browse(tmp_path, page, f"--screenshot={target}")
    shot = np.asarray(Image.open(target).convert("RGB"))
    assert shot.shape == (1600, 1280, 3)
    assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 1000
    assert (shot.std(axis=(1, 2)) > 5).mean() > 0.5  # not only a heading


def test_ticks_compose_a_veto_file_that_can_be_read(tmp_path, page):
    script = (
        "<script>for (const b of document.querySelectorAll('input[data-veto]')) "
        "if (!b.dataset.veto.includes('fox')) b.click();"
        "document.body.dataset.text = JSON.stringify(document.querySelector('textarea').value);"
        "</script></body>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    dom, console = browse(tmp_path, page, "--dump-dom")
    assert not console and "6 lines" in dom
    (tmp_path / "veto.txt").write_text(composed(dom), encoding="utf-8")
    veto = Veto.read(tmp_path / "veto.txt", NAMES, IMAGES)
    assert veto.class_ids == {0, 1, 2} and veto.images == set(IMAGES)


#: Says in attributes of its body what a page that it holds in a narrow frame measures there.
FRAME = """<!DOCTYPE html><body><iframe src="{page}" style="width:{width}px;height:900px;border:0">
</iframe><script>
window.addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const boxes = Array.from(page.querySelectorAll(".scroll"));
  document.body.dataset.width = page.documentElement.scrollWidth;
  document.body.dataset.scrolled = boxes.filter(b => b.scrollWidth > b.clientWidth).length;
}});
</script>"""


@pytest.mark.parametrize("width", [320, 420])
def test_neither_page_nor_tables_scroll_sideways(tmp_path, page, width):
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=page.name, width=width), encoding="utf-8")
    dom, _ = browse(tmp_path, frame, "--dump-dom", "--allow-file-access-from-files")
    assert f'data-width="{width}"' in dom and 'data-scrolled="0"' in dom


#: Names the first region of every picture as a person does, typing, with second thoughts.
NAMING = """<script>
const field = document.querySelector("#given");
document.querySelectorAll("svg").forEach((svg, k) => {
  svg.querySelector("path").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  for (const name of WORDS[k]) {
    field.value = name;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
});
document.body.dataset.text = JSON.stringify(document.querySelector("textarea").value);
</script></body>"""


def test_regions_that_are_named_compose_lines_that_can_be_read(tmp_path):
    names = ('one "1".jpg', "two&amp;: 1,2 3,4 5,6: .jpg", "#3: ünï's.jpg")
    for name in names:
        Image.new("RGB", (90, 60)).save(tmp_path / name)
    page = write_page(
        tmp_path / "page.html",
        (make_entry(name, NAMES) for name in names),
        title="",
        vocabulary=Vocabulary.parse([[name] for name in NAMES]),
        veto_text="# so far\n",
    )[0]
    words = [["zebr", NAMES[2]], [NAMES[3], ""], ["unknown", NAMES[0], "nothing"]]
    script = NAMING.replace("WORDS", json.dumps(words))
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    dom, console = browse(tmp_path, page, "--dump-dom")
    assert not console and "3 lines" in dom
    (tmp_path / "veto.txt").write_text(composed(dom), encoding="utf-8")
    veto = Veto.read(tmp_path / "veto.txt", NAMES, [str(tmp_path / name) for name in names])
    assert veto.text.startswith("# so far\n")
    assert [(c.image, c.class_id) for c in veto.corrections] == [(names[0], 2), (names[2], -1)]
    right_half = {(45.0, 0.0), (90.0, 0.0), (90.0, 60.0), (45.0, 60.0)}  # has no label
    assert all(set(c.rings[0]) == right_half for c in veto.corrections)
