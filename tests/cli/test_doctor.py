import json
import sys

from tests.test_package import run_without

CODE = "from stseg.cli import stseg_command; sys.exit(stseg_command(['doctor', *{flags}]))"


def test_what_is_missing_is_a_finding_and_no_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    blocked = ("torch", "detectron2", "numpy", "cv2", "PIL", "packaging")
    result = run_without(blocked, CODE.format(flags=[]))
    assert result.returncode == 1 and not result.stderr, result.stderr
    lines = result.stdout.splitlines()
    wrong = [line.split()[1] for line in lines if line.startswith("WRONG")]
    assert wrong[0] == "torch" and {*blocked[:-1], "packages", "data"} == set(wrong)
    assert all(lines[i + 1].lstrip().startswith("-> ") for i, line in enumerate(lines)
               if line.startswith("WRONG"))  # fmt: skip
    assert lines[-1].endswith("Begin with the first one.")
    assert any(line.startswith("note  run") for line in lines)


def test_a_broken_torch_is_a_finding_in_json_too(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cuda.so: undefined symbol')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = run_without((), CODE.format(flags=["--json", "--no-run"]))
    found = {seen["subject"]: seen for seen in json.loads(result.stdout)}
    assert result.returncode == 1 and "run" not in found
    assert found["torch"]["status"] == "wrong" and "undefined symbol" in found["torch"]["text"]
    assert found["timm"]["status"] == "note" and found["memory"]["status"] in ("good", "note")
