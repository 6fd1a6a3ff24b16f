import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""


def run_without(blocked, code):
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


BLOCKED = [("torch",), ("detectron2",), ("torch", "detectron2", "fvcore", "iopath", "open_clip")]


@pytest.mark.parametrize("blocked", BLOCKED, ids="+".join)
def test_numpy_parts_import_without_torch_and_detectron2(blocked):
    code = """
import stseg, stseg.evaluation
from stseg.structures import Segmentation
assert stseg.Vocabulary.parse("cat; dog").names == ("cat", "dog")
assert "torch" not in sys.modules or "torch" not in {blocked}
"""
    result = run_without(blocked, code.format(blocked=blocked))
    assert result.returncode == 0, result.stderr


USES = [
    "stseg.Predictor",
    "stseg.add_stseg_config",
    "stseg.checkpoint",
    "from stseg import Predictor",
    "import stseg.engine",
    "import stseg.modeling",
    "import stseg.checkpoint",
]


@pytest.mark.parametrize("blocked", BLOCKED, ids="+".join)
def test_what_needs_detectron2_says_how_to_get_it(blocked):
    code = f"""
import stseg
for use in {USES}:
    try:
        exec(use)
    except ImportError as error:
        assert "needs {blocked[0]}" in str(error), use
        assert "install_detectron2.sh" in str(error) and "git+https" in str(error), use
    else:
        raise AssertionError(use)
"""
    result = run_without(blocked, code)
    assert result.returncode == 0, result.stderr


def test_a_broken_dependency_is_not_hidden(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("import no_such_module_here")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import stseg"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "No module named 'no_such_module_here'" in result.stderr


def test_unknown_attribute_is_an_attribute_error():
    import stseg

    with pytest.raises(AttributeError, match="nothing_here"):
        stseg.nothing_here  # noqa: B018
