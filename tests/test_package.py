import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def test_all_but_pages_does_without_jinja2():
    code = "import stseg, stseg.evaluation.report, stseg.self_training.page, stseg.tools.sheet"
    result = run_without(("jinja2",), code)
    assert result.returncode == 0, result.stderr


USES = [
    "stseg.Predictor",
    "stseg.add_stseg_config",
    "stseg.register()",
    "from stseg import Predictor",
    "from stseg.engine import Trainer",
    "from stseg.modeling import build_model",
    "from stseg.checkpoint import load_for_evaluation",
    "from stseg.evaluation import SemSegEvaluator",
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
        assert "--install-detectron2" in str(error) and "git+https" in str(error), use
    else:
        raise AssertionError(use)
"""
    result = run_without(blocked, code)
    assert result.returncode == 0, result.stderr


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_broken_dependency_is_not_hidden(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("import no_such_module_here")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import stseg; stseg.Predictor"
    assert "No module named 'no_such_module_here'" in run(code).stderr


REGISTERED = """
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from detectron2.utils.file_io import PathManager
assert "STSeg" in META_ARCH_REGISTRY and "CostAwareDecoder" in SEM_SEG_HEADS_REGISTRY
assert "ade20k_150_test_sem_seg" in DatasetCatalog
assert "small_world_val_sem_seg" in DatasetCatalog
assert MetadataCatalog.get("voc_2012_test_sem_seg").vocabulary.names[0] == "aeroplane"
assert PathManager.isfile("stseg://small_world/clip_mini.pt")
"""


def test_all_is_registered_with_detectron2_whichever_way_it_is_imported():
    ways = (
        "import detectron2; import stseg",
        "import stseg; stseg.register()",
        "from stseg import add_stseg_config",
    )
    with ThreadPoolExecutor() as pool:  # each a process of its own
        for way, result in zip(ways, pool.map(run, (w + REGISTERED for w in ways)), strict=True):
            assert result.returncode == 0, (way, result.stderr)


def test_importing_the_package_alone_loads_neither_torch_nor_detectron2():
    code = "import sys, stseg, stseg.engine, stseg.modeling, stseg.data, stseg.evaluation;"
    code += "assert not {'torch', 'detectron2', 'numpy', 'cv2'} & set(sys.modules)"
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_unknown_attribute_is_an_attribute_error():
    import stseg

    with pytest.raises(AttributeError, match="nothing_here"):
        stseg.nothing_here  # noqa: B018
