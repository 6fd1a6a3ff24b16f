"""The pages of documentation build without a warning, and quote what is there."""

import os
import re
import subprocess
import sys

import pytest

from tests.helpers.dev_scripts import ROOT, load_script


@pytest.fixture(scope="module")
def hooks():
    return load_script("docs_hooks")


def test_they_build_without_a_warning_and_no_text_is_left_out(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed: make env-dev")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    site = tmp_path / "site"
    pages = {p.relative_to(site).as_posix(): p.read_text("utf-8") for p in site.rglob("*.html")}
    assert "{{" not in "".join(pages.values())
    assert "make demo" in pages["index.html"] and "stseg adapt photos/" in pages["adapt.html"]
    assert 'id="extend"' in pages["own_data.html"]
    assert "set_image" in pages["reference/python.html"]
    for page, text in pages.items():
        for source in re.findall(r'<img alt="[^"]*" src="([^"]+)"', text):
            assert ((site / page).parent / source).is_file(), source


def test_links_start_at_the_page_that_a_text_stands_on(hooks, tmp_path):
    def moved(text, name="README.md", here=""):
        return hooks.relinked(text, name, here, tmp_path)

    assert moved("[a](projects/CEL/README.md#x)") == "[a](reports/cel.md#x)"
    assert moved("[a](#weights)") == "[a](photograph.md#weights)"
    assert moved("[a](../../README.md#extend)", "projects/CEL/README.md", "reports") == (
        "[a](../own_data.md#extend)"
    )
    assert moved("[a](https://x.org/y)") == "[a](https://x.org/y)"
    assert moved("[a](train_net.py)") == "a (`train_net.py`)"
    picture = moved("![a](demo/images/photograph.jpg)", here="")
    assert picture == '<img alt="a" src="pictures/demo_images_photograph.jpg">'
    assert (tmp_path / "pictures" / "demo_images_photograph.jpg").is_file()


def test_a_page_that_wants_a_section_that_is_gone_says_so(hooks):
    assert hooks.section_of("# A\nb\n## C\nd\n## E\n", "C") == "## C\nd\n"
    with pytest.raises(KeyError, match="expected a heading '## F'"):
        hooks.section_of("# A\n## C\n", "F")


def quoted():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^\*\*`([^`]+)`\*\*", text, re.MULTILINE)


@pytest.mark.parametrize("words", [q for q in quoted() if not q.startswith("No module")])
def test_a_message_that_is_explained_is_one_that_is_given(words):
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "stseg").rglob("*.py"))
    # Literals go on over lines, with values between them.
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    assert words in joined
