"""What the pages for users say can be done."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from string import Template

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import configurable, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, build_model
from PIL import Image
from torch import nn

from stseg import self_training
from stseg.cli import stseg_command
from stseg.cli.main import COMMANDS as COMMANDS_THERE_ARE
from stseg.config import add_stseg_config, check_values
from stseg.config.data_entries import parse_entry
from stseg.data.readers import register_folder
from stseg.engine.arguments import argument_parser
from stseg.evaluation import EVALUATOR_REGISTRY
from stseg.evaluation.evaluation_commands import argument_parser as evaluation_parser
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.self_training.guard import ADAPTED, NO_GAIN
from stseg.structures import Background, Vocabulary
from stseg.tools.prediction.asked import _kinds
from stseg.tools.prediction.predict_command import prediction_parser
from stseg.utils import config_path
from stseg.weights import find
from tests.helpers.colour_net import COLOURS
from tests.helpers.nearest_colour import Batches, NearestColour, items
from tests.helpers.tiny_data import NAMES, write_folder
from tests.helpers.tiny_model import register, tiny_cfg
from tests.self_training.round_runs import make_images, rounds

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "projects/STSeg/README.md", "datasets/README.md", "CONTRIBUTING.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)


def blocks(text, *languages):
    """Content of the fenced blocks in some languages; "" stands for all but Python and YAML."""
    found = [(name.lower(), block) for name, block in _FENCE.findall(text)]
    return [b for name, b in found if ("" if name not in ("python", "yaml") else name) in languages]


def commands(text):
    """The command lines of a page as lists of words, with the variables that a block sets."""
    found = []
    for block in blocks(text, ""):
        variables = {}
        for line in block.replace("\\\n", " ").splitlines():
            line = Template(line.replace("...", "--config-file configs/mini/stseg_mini.yaml"))
            words = shlex.split(line.safe_substitute(variables), comments=True)
            if words and all("=" in word for word in words if word != "export"):
                variables |= dict(word.split("=", 1) for word in words if word != "export")
            elif words:
                found.append([word for k, word in enumerate(words) if "=" not in word or k])
    return found


COMMANDS = [command for text in TEXTS.values() for command in commands(text)]


def commands_with(word):
    return [command for command in COMMANDS if word in command]


STSEG = [command for command in COMMANDS if command[0] == "stseg"]
PREDICT = [command for command in STSEG if command[1] == "predict"]
RUN = [command for command in STSEG if command[1] in ("train", "adapt", "evaluate")]
OTHERS = [c for c in STSEG if c not in PREDICT + RUN and c[1] not in ("weights", "score")]


@pytest.mark.parametrize(
    ("page", "target"),
    [(page, x) for page in PAGES for x in sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXTS[page])))],
)
def test_every_link_leads_somewhere(page, target):
    assert target.startswith("http") or ((ROOT / page).parent / target).exists()


@pytest.mark.parametrize("language", ["", "bash", "sh", "console"])
def test_commands_are_found_in_whatever_a_block_is_called(language):
    text = f"```{language}\nX=a.yaml  # why\npython demo/demo.py \\\n  --config-file $X\n```\n"
    assert commands(text) == [["python", "demo/demo.py", "--config-file", "a.yaml"]]


def test_the_pages_hold_commands_of_every_kind():
    assert len(commands_with("train_net.py")) >= 12
    assert len(STSEG) >= 25 and {command[1] for command in STSEG} == set(COMMANDS_THERE_ARE)
    assert len(commands_with("make")) >= 4
    assert len(commands_with("weights")) == 3
    assert len(commands(TEXTS["README.md"])) >= 15


@pytest.mark.parametrize("command", [c for c in COMMANDS if "python" in c], ids=" ".join)
def test_commands_name_programs_that_are_there(command):
    program, *rest = command[command.index("python") + 1 :]
    assert find_spec(rest[0]) if program == "-m" else (ROOT / program).is_file()


@pytest.mark.parametrize("command", PREDICT, ids=" ".join)
def test_commands_that_predict_are_understood(command):
    args = prediction_parser().parse_intermixed_args(command[2:])
    names = args.vocabulary or (args.what[-1] if not args.data else "")
    assert args.data or Vocabulary.parse(names)
    Background.parse(args.background), _kinds(args.save)
    assert not args.config_file or config_path(args.config_file)
    assert not args.weights or find(args.weights).config


@pytest.mark.parametrize("command", RUN, ids=" ".join)
def test_commands_that_run_a_model_are_understood(command):
    args = argument_parser(task=command[1]).parse_intermixed_args(command[2:])
    assert config_path(args.config_file) and len(args.opts) % 2 == 0
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.merge_from_list(args.opts)


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_other_commands_are_there(command):
    with pytest.raises(SystemExit, match="0"):
        stseg_command(
            [*command[1:3], "--help"] if command[1] == "vocab" else [command[1], "--help"]
        )


@pytest.mark.parametrize("command", commands_with("train_net.py"), ids=" ".join)
def test_training_commands_are_understood(command):
    args = argument_parser().parse_intermixed_args(command[command.index("train_net.py") + 1 :])
    assert (ROOT / args.config_file).is_file() and len(args.opts) % 2 == 0
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.merge_from_list(args.opts)  # every key is known, every value of its kind


@pytest.mark.parametrize("command", [c for c in STSEG if c[1] == "score"], ids=" ".join)
def test_evaluation_commands_are_understood(command):
    evaluation_parser().parse_args(command[1:])


@pytest.mark.parametrize("command", commands_with("weights"), ids=" ".join)
def test_commands_about_weights_run(command, shop):
    shop.files["sed_convnextB.pth"] = shop.files["sam_vit_b_01ec64.pth"] = b"PK"
    assert stseg_command(command[1:]) == 0


@pytest.mark.parametrize("command", commands_with("make"), ids=" ".join)
def test_make_targets_exist(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\n{command[1]}:" in makefile


def test_keys_and_entries_in_yaml_exist():
    found = [yaml.safe_load(b) for text in TEXTS.values() for b in blocks(text, "yaml")]
    assert len(found) == 2
    for content in found:
        given = content["DATASETS"]
        for key, kind in (("FOLDERS", {}), ("PAIRS", {"format": "pairs"})):
            for entry in given.get(key, ()):
                if isinstance(entry, dict):
                    assert parse_entry(kind | entry, "README").name == entry["name"]
        cfg = get_cfg()
        add_stseg_config(cfg)
        cfg.merge_from_other_cfg(type(cfg)(content))
        check_values(cfg)


# --- Python ---


@pytest.fixture
def place(tmp_path, monkeypatch, clean_catalog):
    """A working directory with the configs and a data set "my_val", and no traces elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    register_folder("my_val", *write_folder(tmp_path / "val", count=2))
    registries = EVALUATOR_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
    before = [{name for name, _ in registry} for registry in registries]
    yield tmp_path
    for registry, names in zip(registries, before, strict=True):
        for name in {name for name, _ in registry} - names:
            del registry._obj_map[name]


def segments_a_scene(names, place):
    """The shipped miniature answers, and writes its files."""
    assert names["result"].label_map.shape == (48, 64)
    assert {"scene.png", "scene.json"} <= {p.name for p in (place / "output").iterdir()}


def evaluates(evaluator):
    """Whether answers equal to the labels are worth 100 points."""
    records = DatasetCatalog.get("my_val")
    evaluator.reset()
    for record in records:
        label = np.array(Image.open(record["sem_seg_file_name"]))
        scores = torch.eye(len(NAMES))[torch.from_numpy(label).long()].permute(2, 0, 1)
        evaluator.process([record], [{"sem_seg": scores}])
    return evaluator.evaluate()["sem_seg"]["mIoU"] == 100


def takes_detectron2s_place(names, place):
    """The evaluator of the block judges a data set."""
    assert evaluates(names["evaluator"])


def chooses_the_evaluator_by_its_type(names, place):
    """A trainer gets the evaluator that is registered."""
    metadata = MetadataCatalog.get("my_val")
    del metadata.evaluator_type
    metadata.evaluator_type = "my_type"
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(place / "output")
    asked = []
    EVALUATOR_REGISTRY._obj_map["my_type"] = lambda *a: asked.append(a) or names["my_type"](*a)
    assert evaluates(names["MyTrainer"].build_evaluator(cfg, "my_val"))
    assert asked == [(cfg, "my_val", cfg.OUTPUT_DIR)]


def trains_and_answers(model):
    """Whether a model of a tiny config gives losses with a slope, and a map per class."""
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    item = {"image": image, "vocabulary": Vocabulary.parse("cat; dog"), "sem_seg": image[0] % 2}
    sum(model.train()([{**item, "sem_seg": item["sem_seg"].long()}]).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        return model.eval()([item])[0]["sem_seg"].shape == (2, 64, 64)


def is_a_head(names, place):
    """Set as MODEL.SEM_SEG_HEAD.NAME it trains and answers."""
    register(place)
    model = build_model(tiny_cfg(MODEL__SEM_SEG_HEAD__NAME="PlainHead"))
    assert type(model.head) is names["PlainHead"] and trains_and_answers(model)


def is_an_architecture(names, place):
    """With a `from_config` like STSeg's it is built by its name, trains and answers."""
    register(place)

    def from_config(cls, cfg):
        parts = STSeg.from_config(cfg)
        shared = ("text_encoder", "criterion", "image_size", "tiles", "dtype")
        return {name: parts[name] for name in ("image_encoder", *shared)}

    names["Zeroshot"].from_config = classmethod(from_config)
    model = build_model(tiny_cfg(MODEL__META_ARCHITECTURE="Zeroshot"))
    assert type(model) is names["Zeroshot"] and trains_and_answers(model)


def adapts_another_projects_model(names, place):
    """A model of another project comes out judged, and a second call has nothing left to do."""
    META_ARCH_REGISTRY.register(NearestColour)
    images = sorted((make_images(place / "data", count=2) / "images").iterdir())
    records = tuple({"file_name": str(path)} for path in images)
    target = self_training.Target("mine", records, Vocabulary.parse("; ".join(COLOURS)))
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "NearestColour"
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER = "", str(place / "output"), 2
    (place / "output").mkdir()
    for _ in range(2):
        names["adapt"](cfg, target, items, Batches)
        assert rounds(place / "output")["verdict"] in (ADAPTED, NO_GAIN)
        assert (place / "output" / "model_final.pth").is_file()


def holds_the_image_tower_too(names, place):
    """The file of the model for photographs as it is trained on."""
    state = torch.load(place / "photo_start.pth", weights_only=True)["model"]
    assert {name.split(".")[0] for name in state} >= {"head", "image_encoder"}


#: A word of each Python block to what must be true after it has run.
RUNS = {
    "photo_start.pth": holds_the_image_tower_too,
    "Predictor(": segments_a_scene,
    "Background": lambda names, place: None,
    "boundary=True": takes_detectron2s_place,
    "EVALUATOR_REGISTRY": chooses_the_evaluator_by_its_type,
    "TrainsInRounds": adapts_another_projects_model,
    "PlainHead": is_a_head,
    "Zeroshot": is_an_architecture,
}
#: A word of each block that cannot be run, and why.
NOT_RUN = {
    "# fetches the file": "needs the network; tests/weights/test_from_pretrained.py has a server"
}
PYTHON = [block for text in TEXTS.values() for block in blocks(text, "python")]


def test_every_python_block_is_run_or_excused():
    assert len(PYTHON) == len(RUNS) + len(NOT_RUN) == 9 and len(NOT_RUN) <= 1
    for word in [*RUNS, *NOT_RUN]:
        assert sum(word in block for block in PYTHON) == 1, word


def told_names(block):
    """What a block takes from the modules that its comments name."""
    found = {}
    for line, module in re.findall(r"^(.*)# from ([\w.]+)$", block, flags=re.MULTILINE):
        content = importlib.import_module(module)
        names = {*vars(content), *dir(content)}  # those behind a door, too
        found |= {w: getattr(content, w) for w in re.findall(r"\w+", line) if w in names}
    return found


def write_scene(folder):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / "scene.png")


def test_the_first_block_runs_in_a_process_of_its_own(place):
    """Where no test has imported or registered anything before."""
    write_scene(place)
    command = [sys.executable, "-W", "ignore", "-c", PYTHON[0]]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "random" not in result.stderr.lower()  # the weights that ship are read
    name, confidence = result.stdout.rsplit(maxsplit=1)
    assert name in ("star", "red kite", "grass", "sky") and 0 < float(confidence) < 1


@pytest.mark.parametrize("word", RUNS)
def test_python_blocks_do_what_the_page_says(word, place, request):
    (block,) = [b for b in PYTHON if word in b]
    if "photo-mini" in block:
        request.getfixturevalue("photos_extra")
    write_scene(place)
    torch.manual_seed(0)
    known = {"nn": nn, "configurable": configurable, "partial": partial}
    known |= {name: getattr(self_training, name) for name in self_training.__all__}
    names = {**known, **told_names(block), "__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    RUNS[word](names, place)
