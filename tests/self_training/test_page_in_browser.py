"""The page as a person sees it. Skipped where no browser is installed."""

import html
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from stseg.self_training.page import write_page
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


@pytest.fixture
def page(tmp_path):
    vocabulary = Vocabulary.parse([[name] for name in NAMES]).with_seen("fox")
    entries = (make_entry(name, NAMES, with_before=True) for name in IMAGES)
    return write_page(tmp_path / "page.html", entries, title="Look", vocabulary=vocabulary)[0]


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
    found = re.search(r'data-text="([^"]*)"', dom)
    lines = html.unescape(found[1]).strip('"').replace('\\"', '"').replace("\\n", "\n")
    (tmp_path / "veto.txt").write_text(lines, encoding="utf-8")
    veto = Veto.read(tmp_path / "veto.txt", NAMES, IMAGES)
    assert veto.class_ids == {0, 1, 2} and veto.images == set(IMAGES)
