import importlib
import json

import packaging.requirements  # noqa: F401 - before the path is cut down
import pytest

from stseg.tools import GOOD, NOTE, WRONG
from stseg.tools.doctor import packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Writes packages into a folder that alone is looked at: name, version, and files by name."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])

    def install(name, version, **files):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text + "".join(files.pop("needs", [])))
        for file, content in files.items():
            (folder / file.replace("_dot_", ".")).write_text(content)
        importlib.invalidate_caches()

    return install


FACTS = {"version": "0.6", "folder": "/x", "compiled": False, "compiled_error": "", "used": ""}


@pytest.mark.parametrize(
    ("package", "origin", "words"),
    [
        ("sal-detectron2", None, "the wheel sal-detectron2 0.6"),
        ("detectron2", {"vcs_info": {"commit_id": "0123456789"}}, "built from git at 01234567"),
        ("detectron2", {"dir_info": {}}, "package detectron2 0.6, built here"),
        ("detectron2", None, "package detectron2 0.6,"),
    ],
)
def test_the_build_of_detectron2_is_told(installed, monkeypatch, package, origin, words):
    monkeypatch.setattr(packages, "is_installed", lambda _: True)
    files = {"direct_url_dot_json": json.dumps(origin)} if origin else {}
    installed(package, "0.6", top_level_dot_txt="detectron2\n", **files)
    (seen,) = packages.check_detectron2({"detectron2": FACTS})
    assert seen.status == GOOD and words in seen.text and "without compiled" in seen.text


def test_a_detectron2_that_does_not_load_is_wrong_and_its_operators_are_not_needed():
    (seen,) = packages.check_detectron2({"detectron2": {"error": "ImportError: no PIL.LINEAR"}})
    assert seen.status == WRONG and "no PIL.LINEAR" in seen.text and "git+https" in seen.cure
    broken = FACTS | {"compiled": True, "compiled_error": "undefined symbol"}
    good, note = packages.check_detectron2({"detectron2": broken})
    assert (good.status, note.status) == (GOOD, NOTE) and "undefined symbol" in note.text


def test_requirements_are_compared_with_what_is_installed(installed):
    (seen,) = packages.check_requirements()
    assert seen.status == NOTE and "not installed" in seen.text
    needs = ["torch>=2.0", "timm", "opencv-python-headless", "mypy; extra == 'dev'"]
    installed("stseg", "0.1", needs=[f"Requires-Dist: {need}\n" for need in needs])
    installed("torch", "1.13")
    installed("opencv-python", "5.0", top_level_dot_txt="cv2\n")
    (seen,) = packages.check_requirements()
    assert seen.status == WRONG and seen.cure == "pip install 'torch>=2.0' 'timm'"
    assert seen.text == "expected torch>=2.0 (1.13 here), timm (missing)"


def test_two_builds_of_opencv_are_a_note(installed):
    installed("opencv-python", "5.0", top_level_dot_txt="cv2\n")
    assert not list(packages.check_opencv())
    installed("opencv-python-headless", "5.0", top_level_dot_txt="cv2\n")
    (seen,) = packages.check_opencv()
    assert seen.status == NOTE and "opencv-python and opencv-python-headless" in seen.text


def test_cures_name_the_cause():
    facts = {
        "torch": {"version": "2.4.0"},
        "torchvision": {"error": "RuntimeError: operator torchvision::nms does not exist"},
        "cv2": {"error": "ImportError: libGL.so.1: cannot open shared object file"},
        "timm": {"error": "ImportError: A module that was compiled using NumPy 1.x"},
    }
    cures = {m: next(packages.check_library(m, facts)).cure for m in facts if m != "torch"}
    assert "torch 2.4.0" in cures["torchvision"] and "numpy<2" in cures["timm"]
    assert "opencv-python-headless" in cures["cv2"]
