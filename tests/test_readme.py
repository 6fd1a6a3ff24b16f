import ast
import re
import shlex
from pathlib import Path

import pytest

from demo.demo import parse_args
from stseg.engine.arguments import argument_parser
from stseg.evaluation.__main__ import _parser as evaluation_parser
from stseg.structures import Background, Vocabulary

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in BLOCKS
    if not language
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert target.startswith("http") or (ROOT / target).exists()


@pytest.mark.parametrize("command", [c for c in COMMANDS if "demo/demo.py" in c], ids=" ".join)
def test_demo_commands_are_understood(command):
    if "--help" in command:
        return
    _, args = parse_args(command[command.index("demo/demo.py") + 1 :])
    Vocabulary.parse(args.vocabulary), Background.parse(args.background)
    assert (ROOT / args.config_file).is_file()


@pytest.mark.parametrize("command", [c for c in COMMANDS if "train_net.py" in c], ids=" ".join)
def test_training_commands_are_understood(command):
    args = argument_parser().parse_args(command[command.index("train_net.py") + 1 :])
    assert (ROOT / args.config_file).is_file() and len(args.opts) % 2 == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if "stseg.evaluation" in c], ids=" ".join)
def test_evaluation_commands_are_understood(command):
    evaluation_parser().parse_args(command[command.index("stseg.evaluation") + 1 :])


def test_python_blocks_are_python():
    blocks = [block for language, block in BLOCKS if language == "python"]
    assert len(blocks) == 6
    for block in blocks:
        ast.parse(block)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
