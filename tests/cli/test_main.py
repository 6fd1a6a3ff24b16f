import subprocess
import sys
from pathlib import Path

import pytest

import stseg
from stseg.cli import stseg_command
from stseg.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_command_and_each_tells_of_itself(capsys):
    files = {path.stem for path in (ROOT / "stseg" / "cli").glob("*.py")}
    assert files - {"__init__", "main"} == set(COMMANDS)
    for argv in (["--help"], *([name, "--help"] for name in COMMANDS)):
        with pytest.raises(SystemExit, match="0"):
            stseg_command(argv)
        text = capsys.readouterr().out
        assert text.startswith(f"usage: stseg {argv[0] if argv[1:] else '[-h]'}")
        assert argv[1:] or all(f"\n  {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("rest", [["--version"], ["weights", "list"]])
def test_a_process_of_its_own_answers_without_torch(rest):
    code = "import sys, stseg.cli; code = stseg.cli.stseg_command(sys.argv[1:])"
    code += "\nassert not {'torch', 'detectron2'} & set(sys.modules); sys.exit(code)"
    command = [sys.executable, "-c", code, *rest]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == stseg.__version__ or "sed-convnextB" in result.stdout


def test_help_of_predict_imports_neither_torch_nor_extras():
    code = "import sys, stseg.cli\ntry: stseg.cli.stseg_command(['predict', '--help'])"
    code += "\nexcept SystemExit: pass"
    code += "\nassert not {'torch', 'detectron2', 'rasterio', 'av'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--tile" in result.stdout


def test_wrong_use_and_errors_that_explain_themselves_differ_in_the_exit_code(capsys):
    with pytest.raises(SystemExit, match="2"):
        stseg_command(["wights"])
    with pytest.raises(SystemExit, match="1"):
        stseg_command(["weights", "get", "nothing"])
    assert "stseg weights: Weights: expected a name" in capsys.readouterr().err
