"""Commands read their arguments before they import what is slow, so that --help is quick.

Read from the source: what a module imports at its top, and what these import at theirs.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Beside the standard library. That `import stseg` is quick is for the tests of the package to say.
LIGHT = {"numpy", "stseg"}
#: Packages whose modules are followed.
FOLLOWED = ("benchmarks.", "stseg.utils.")


def imports_at_top(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported with the file; what is taken out of `stseg` counts as one."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: expected an absolute import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if source_of(full).is_file() or node.module == "stseg" else node.module
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]


def source_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def heavy_imports(module: str) -> list[str]:
    """Chains of modules, from this one to what is heavy."""
    chains, waiting, seen = [], [(module,)], {module}
    while waiting:
        chain = waiting.pop()
        for name in imports_at_top(ast.parse(source_of(chain[-1]).read_text(encoding="utf-8"))):
            if name in LIGHT | seen or name.split(".")[0] in sys.stdlib_module_names:
                continue
            if name.startswith(FOLLOWED) and source_of(name).is_file():
                seen.add(name)
                waiting.append((*chain, name))
            else:
                chains.append(" -> ".join((*chain, name)))
    return chains


def commands() -> list[str]:
    """Modules of benchmarks that people call: with a parser, and run as they are started."""
    found = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "ArgumentParser(" in text and 'if __name__ == "__main__":' in text:
            found.append(f"benchmarks.{path.stem}")
    return found


def test_all_commands_are_found():
    assert len(commands()) >= 12
    assert "benchmarks.training_case" not in commands()  # started by another one


@pytest.mark.parametrize("command", ["benchmarks.__init__", *commands()])
def test_a_command_imports_nothing_heavy_before_it_reads_its_arguments(command):
    assert not heavy_imports(command)


def test_heavy_imports_would_be_found(tmp_path, monkeypatch):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "speed.py").write_text(
        "import json\nimport numpy as np\nimport stseg\nfrom benchmarks import watch\n"
        "from stseg import Predictor\n"
        "if TYPE_CHECKING:\n    import cv2\n"
        "def main():\n    import torch\n"
    )
    (folder / "watch.py").write_text(
        "try:\n    from torch import nn\nexcept ImportError:\n    pass"
    )
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert sorted(heavy_imports("benchmarks.speed")) == [
        "benchmarks.speed -> benchmarks.watch -> torch",
        "benchmarks.speed -> stseg.Predictor",
    ]
