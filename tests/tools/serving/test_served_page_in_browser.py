"""The page as a person uses it. Skipped where no browser can be had."""

import shutil
import threading
import time

import pytest
import uvicorn

from stseg.tools.serving import WaitingLine, add_page, build_api
from tests.tools.serving.conftest import WORDS, png

BOX = "#words textarea, #words input"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        own = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        try:  # the machine's, or playwright's
            found = driver.chromium.launch(args=["--no-sandbox"], executable_path=own)
        except playwright.Error as error:
            first = str(error).splitlines()[0]
            pytest.skip(
                f"NOT CHECKED: the page of `stseg serve` in a browser ({first}). Run `playwright "
                "install chromium` or, where its downloads are barred, apt-get install chromium."
            )
        yield found
        found.close()


@pytest.fixture
def address(service, tmp_path):
    uploads = (tmp_path / "uploads").resolve()
    uploads.mkdir()
    line = WaitingLine()
    app = add_page(build_api(service, line), service, line, uploads)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(30)
    line.close()


def test_upload_segment_hover_and_other_words_change_the_picture(browser, address, tmp_path):
    (tmp_path / "scene.png").write_bytes(png(size=(120, 160)))
    page = browser.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    with page.expect_file_chooser() as chooser:
        page.click("#picture button")
    chooser.value.set_files(tmp_path / "scene.png")
    page.locator("#picture", has_text="scene").wait_for()
    page.fill(BOX, WORDS)
    page.click("#segment")
    overlay = page.locator(".stseg-overlay")
    overlay.wait_for(timeout=60_000)
    page.wait_for_function("document.querySelector('.stseg-classes').innerText.includes('kite')")
    first = overlay.get_attribute("src")
    overlay.hover()
    under = page.locator(".stseg-under").inner_text()
    assert any(under.startswith(name) for name in ("star", "red kite", "grass", "sky"))
    page.fill(BOX, "moon; <b>sun</b>")
    page.click("#segment")
    page.wait_for_function("document.querySelector('.stseg-classes').innerText.includes('moon')")
    assert page.locator(".stseg-overlay").get_attribute("src") != first
    assert "<b>sun</b>" in page.locator(".stseg-classes").inner_text()
    assert not page.locator(".stseg-classes b").count() and not faults
