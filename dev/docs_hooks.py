"""What mkdocs does to our pages: sections of the README come in, and links find their page.

A line `{{ README.md # Install }}` stands for that section of the file, `{{ CHANGELOG.md }}` for all
of it. So a text is written once. Links of such a text start at its file; those to a file that is no
page of the documentation become its path, those to pictures are copied beside the pages.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Files whose text is a page.
PAGES = {
    "README.md": "index.md",
    "datasets/README.md": "datasets.md",
    "projects/STSeg/README.md": "reports/stseg.md",
    "projects/CEL/README.md": "reports/cel.md",
    "projects/PGSeg/README.md": "reports/pgseg.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
#: Sections of the README that stand on another page than the first.
SECTIONS = {
    "the-first-picture": "photograph.md",
    "weights": "photograph.md",
    "train-and-evaluate": "own_data.md",
    "data-sets": "own_data.md",
    "extend": "own_data.md",
    "evaluate-other-models": "evaluate.md",
    "adapt-to-a-folder-of-images": "adapt.md",
    "results": "systems.md",
}
_INCLUDED = re.compile(r"^\{\{ ([\w./-]+)(?: # ([^}]+))? \}\}$", re.MULTILINE)
#: "sh run" is a block that our tests run; mkdocs knows one word.
_RUN_BLOCK = re.compile(r"^(```\w+) run$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs with every page before it is rendered."""
    del files
    here = posixpath.dirname(page.file.src_uri)

    def included(match: re.Match[str]) -> str:
        name, section = match[1], match[2]
        text = (ROOT / name).read_text(encoding="utf-8")
        text = section_of(text, section) if section else text
        text = _RUN_BLOCK.sub(r"\1", text)
        return relinked(text, name, here, Path(config["site_dir"]))

    return _INCLUDED.sub(included, markdown)


def section_of(text: str, title: str) -> str:
    """A section of a Markdown text with its heading, or, for "^", what stands above the first.

    Raises:
        KeyError: if there is no such section.
    """
    head, *parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    if title == "^":
        return head
    for part in parts:
        if part.startswith(f"## {title}\n"):
            return part
    raise KeyError(f"a page includes the section {title!r}: expected a heading '## {title}'")


def relinked(text: str, name: str, here: str, site: Path) -> str:
    """The text of a file with links that start at a page.

    Args:
        text: Markdown.
        name: the file, from the root of the repository.
        here: folder of the page below docs/.
        site: folder of the built pages, where pictures are put.
    """

    def moved(match: re.Match[str]) -> str:
        bang, label, target = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
        if bang:
            copy = site / "pictures" / path.replace("/", "_")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / path).read_bytes())
            folder = posixpath.relpath("pictures", here or ".")
            return f'<img alt="{label}" src="{folder}/{copy.name}">'
        page = SECTIONS.get(anchor) if path == "README.md" else None
        page = page or PAGES.get(path)
        if page is None:
            return label if "`" in label else f"{label} (`{path}`)"
        end = f"#{anchor}" if anchor else ""
        return f"[{label}]({posixpath.relpath(page, here or '.')}{end})"

    return _LINK.sub(moved, text)
