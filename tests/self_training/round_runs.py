"""Runs of self-training in seconds: a model, its images, and processes that can be killed.

Processes are forked from a server that has imported everything once and trained nothing.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import math
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.utils.tensorboard  # noqa: F401  not once in every process
from detectron2.engine import defaults
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import nn
from torch.nn import functional as F

from stseg.checkpoint.state import weights_digest
from stseg.engine import run_process, train_command
from stseg.engine.arguments import parse_args
from stseg.engine.processes import cpu_worker, free_port
from stseg.modeling.encoders.sam import SAMImageEncoder
from stseg.render.colours import class_colours
from stseg.utils import watching
from tests.helpers.colour_net import COLOURS
from tests.helpers.tiny_model import CLIP_NAME, SAM_NAME, register, tiny_sam

NAMES = tuple(COLOURS)
with tempfile.TemporaryDirectory() as _folder:  # of its own: others register at the same moment
    register(Path(_folder))  # which reads the files, that are not needed later
class_colours(["a"])  # the palette is computed once, not in every process


@META_ARCH_REGISTRY.register()
class RoundsTestNet(nn.Module):
    """A class is as probable as its colour is near; learns colours. SAM is run but not used."""

    def __init__(self, cfg):
        super().__init__()
        self.sam_encoder = SAMImageEncoder(tiny_sam().image_encoder, input_size=64)
        self.colours = nn.Parameter(torch.tensor(list(COLOURS.values())) / 255.0)
        self.sharpness = nn.Parameter(torch.tensor(8.0))

    def logits(self, image):
        image = F.dropout(image[None].float() / 255, 0.02, self.training)
        distance = (image - self.colours[:, :, None, None]).abs().mean(dim=1)
        return self.sharpness * (0.5 - distance)

    def forward(self, batch):
        if self.training:
            losses = []
            for item in batch:
                target, logits = item["sem_seg"], self.logits(item["image"])
                wanted = F.one_hot(target.clamp(min=0), len(NAMES)).movedim(-1, 0).float()
                loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
                losses.append((loss * (target >= 0)).mean())
            return {"loss_sem_seg": torch.stack(losses).mean()}
        outputs = []
        for item in batch:
            self.sam_encoder(item["image"][None].float())
            size = (item["height"], item["width"])
            logits = F.interpolate(self.logits(item["image"])[None], size, mode="bilinear")
            outputs.append({"sem_seg": logits[0].sigmoid()})
        return outputs


def make_images(folder, count=5, noise=60, size=(40, 56)):
    """Blocks of the four colours, with labels; noise 0 gives what the model knows perfectly."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    palette = np.array(list(COLOURS.values()))
    for k in range(count):
        label = np.kron(rng.integers(0, 4, (size[0] // 8, size[1] // 8)), np.ones((8, 8), int))
        image = palette[label] + rng.integers(-noise, noise + 1, (*size, 3))
        image = image.clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{k}.png")
        Image.fromarray(label.astype(np.uint8)).save(folder / "labels" / f"{k}.png")
    (folder / "names.txt").write_text("\n".join(NAMES))
    if not (folder.parent / "sam.pth").exists():
        torch.manual_seed(0)
        torch.save(tiny_sam().state_dict(), folder.parent / "sam.pth")
    return folder


_TINY_STSEG = {
    "MODEL.META_ARCHITECTURE": "STSeg",
    "MODEL.CLIP.NAME": CLIP_NAME,
    "MODEL.CLIP.PRETRAINED": "random",
    "MODEL.STSEG.IMAGE_SIZE": [64, 64],
    "MODEL.STSEG.DEA.NUM_HEADS": 4,
    "MODEL.SEM_SEG_HEAD.HIDDEN_DIM": 32,
    "MODEL.SEM_SEG_HEAD.DECODER_DIMS": [32, 16, 16],
    "MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS": [8, 4, 4],
    "SELF_TRAINING.GATE.THRESH": 0.0,
}


def make_argv(data, output, changes=(), flags=(), stseg=False):
    """Command line of two rounds of two iterations on the images of `make_images`."""
    opts = {
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.CROP.SIZE": [32, 32],
        "INPUT.MIN_SIZE_TRAIN": (40,),
        "INPUT.MIN_SIZE_TEST": 40,
        "MODEL.META_ARCHITECTURE": "RoundsTestNet",
        "MODEL.DEVICE": "cpu",
        "MODEL.LOSS.IGNORED": "masked",
        "MODEL.SAM.NAME": SAM_NAME,
        "MODEL.SAM.CHECKPOINT": str(data.parent / "sam.pth"),
        "MODEL.SAM.INPUT_SIZE": 64,
        "MODEL.TEXT.CACHE_DIR": "",
        "MODEL.WEIGHTS": "random",
        "OUTPUT_DIR": str(output),
        "SEED": 7,
        "SELF_TRAINING.ENABLED": True,
        "SELF_TRAINING.ROUNDS": 2,
        "SELF_TRAINING.ROUND_ITERS": 2,
        "SELF_TRAINING.PREVIEW": 1,
        "SELF_TRAINING.REFINE.PROMPTS": ["mask", "box"],
        "SOLVER.BASE_LR": 1e-3,
        "SOLVER.CHECKPOINT_PERIOD": 100,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.LOG_PERIOD": 3,
        "SOLVER.LR_MULTIPLIERS": [],
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 0,
        "TEST.PICTURES": 0,
    }
    opts.update(_TINY_STSEG if stseg else {})
    opts.update(dict(changes))
    folder = [] if "DATASETS.TRAIN" in opts else ["--images", str(data / "images")]
    names = ["--vocabulary", str(data / "names.txt")] if folder else []
    pairs = [part if isinstance(part, str) else repr(part) for kv in opts.items() for part in kv]
    return ["--num-gpus", "0", *folder, *names, *flags, *pairs]


def run_in_process(argv, log, *patches):
    """`train_command` in a process of its own.

    Args:
        argv: command line.
        log: file for both outputs.
        patches: (function of this module, its arguments...), called first.

    Returns:
        The exit code; a negative number is a signal.
    """
    return finish_process(start_process(argv, log, *patches))


def start_process(argv, log, *patches, main=train_command):
    """As `run_in_process`, and come back at once; `main` takes no argument."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_child, args=(argv, log, patches, main))
    process.start()
    return process


def run_in_two_processes(argv, log, *patches):
    """As `run_in_process` with two that train together; returns both exit codes."""
    argv = [*argv, "--num-cpu-processes", "2"]
    url = f"tcp://127.0.0.1:{free_port()}"
    processes = [start_process(argv, log, *patches, main=_Worker(rank, url)) for rank in (0, 1)]
    return [finish_process(process) for process in processes]


class _Worker:
    """One of two processes."""

    def __init__(self, rank, url):
        self.rank, self.url = rank, url

    def __call__(self):
        cpu_worker(self.rank, run_process, parse_args(), "fork", self.url)


def finish_process(process):
    """Wait for a process; returns its exit code."""
    process.join(300)
    if process.is_alive():
        process.kill()
    process.join()
    return process.exitcode


def _child(argv, log, patches, main):
    torch.set_num_threads(1)
    with open(log, "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["train_net.py", *argv]
    _shorten_setup()
    for patch, *arguments in patches:
        globals()[patch.__name__](*arguments)
    main()


def _shorten_setup():
    """Leave out what Detectron2 logs of the machine, and its reading of YAML by way of YAML."""
    defaults.collect_env_info = lambda: "not collected"
    defaults._highlight = lambda code, filename: code
    defaults._try_get_key = lambda cfg, key, *others, default=None: getattr(cfg, key)


# --- patches ---


def wrap(where, name, change):
    """Replace a function or method `name` of module or class `where` by change(old)."""
    module, _, cls = where.partition(":")
    owner = importlib.import_module(module)
    owner = getattr(owner, cls) if cls else owner
    setattr(owner, name, change(getattr(owner, name)))


def at_call(where, name, number, act):
    """Do `act` instead of the `number`-th call of a function."""
    calls = iter(range(1, 10**6))

    def change(old):
        def counted(*args, **kwargs):
            if next(calls) == number:
                act()
            return old(*args, **kwargs)

        return counted

    wrap(where, name, change)


def kill_at(where, name, number):
    """The `number`-th call of a function is the last thing the process does."""
    at_call(where, name, number, lambda: os.kill(os.getpid(), signal.SIGKILL))


def fault_at_write(number, kind):
    """The `number`-th file that is written whole meets a SIGKILL, or a full disk."""

    def act():
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(28, "No space left on device")

    at_call("os", "fsync", number, act)


def note_writes(path):
    """Every file that is written whole becomes a line of a file."""

    def change(old):
        def fsync(file):
            with open(path, "a") as noted:
                noted.write("written\n")
            return old(file)

        return fsync

    wrap("os", "fsync", change)


def load_module(name):
    """Import a module that registers what the run needs."""
    importlib.import_module(name)


_FOR_EVER = contextlib.ExitStack()


def kill_in(name, number):
    """The `number`-th time that a phase begins is the last thing the process does."""
    begun = []

    @contextlib.contextmanager
    def watch(phase):
        begun.append(phase)
        if begun.count(name) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        yield

    _FOR_EVER.enter_context(watching(watch))


def disk_full_at(number, where="stseg.self_training.store"):
    """The `number`-th file that a module writes, by default of pseudo-labels, finds no space."""

    def act():
        raise OSError(28, "No space left on device")

    at_call(where, "write_atomically", number, act)


def note_sam_calls(path):
    """Every image that SAM's encoder computes becomes a line of a file, the same for the same."""

    def change(old):
        def forward(self, images):
            with open(path, "a") as file:
                for image in images:
                    file.write(hashlib.sha1(image.numpy().tobytes()).hexdigest() + "\n")
            return old(self, images)

        return forward

    wrap("segment_anything.modeling:ImageEncoderViT", "forward", change)


def note_training_labels(path):
    """Of every image that is trained on, a line in a file.

    Name of the image; how much of the padding is labelled; how much of the picture; and how much
    of that with the nearest colour's class, which is what the starting weights say.
    """

    def change(old):
        def forward(self, batch):
            if self.training:
                with open(path, "a") as file:
                    file.writelines(json.dumps(labels_told(item)) + "\n" for item in batch)
            return old(self, batch)

        return forward

    def labels_told(item):
        image, label, inside = item["weak_image"].float(), item["sem_seg"], item["inside"]
        colours = torch.tensor(list(COLOURS.values()))[:, :, None, None]
        nearest = (image - colours).abs().mean(dim=1).argmin(0)
        shares = label[~inside] >= 0, label[inside] >= 0, (label == nearest)[label >= 0]
        return [item["file_name"], *(share.float().mean().item() for share in shares)]

    wrap("tests.self_training.round_runs:RoundsTestNet", "forward", change)


def note_loaders(path):
    """Of every loader of a round, how often its images are wanted as a line in a file."""

    def change(old):
        def build(*args, weights=None, **options):
            with open(path, "a") as file:
                file.write(json.dumps(None if weights is None else list(weights)) + "\n")
            return old(*args, weights=weights, **options)

        return build

    wrap("stseg.self_training.from_config", "build_self_training_loader", change)


def close_gate_at(number):
    """From the `number`-th labelling of all images on no class is accepted."""

    def act():
        def change(old):
            def gate(initial, thresholds, *others):
                return old(initial, thresholds + 2, *others)

            return gate

        wrap("stseg.self_training.labeler", "gate", change)

    at_call("stseg.self_training.dataset_labeler:DatasetLabeler", "fill", number, act)


def believe_any_region():
    """A SAM that has learnt nothing rates none of its regions as good."""

    def change(old):
        return functools.partial(old, min_predicted_iou=-math.inf, min_stability=0.0)

    wrap("stseg.self_training.sam_branch", "RegionSettings", change)


def condemn_round(*numbers):
    """The guard finds a round harmful when it judges for the `numbers`-th time."""
    calls = iter(range(1, 10**6))

    def change(old):
        def judge(*args):
            verdict = old(*args)
            if next(calls) not in numbers:
                return verdict
            return dataclasses.replace(verdict, harmful=True, reasons=("Condemned.",))

        return judge

    wrap("stseg.self_training.round_judge", "judge_round", change)


def shuffle_labels():
    """Pseudo-labels get the classes of others."""

    def change(old):
        def write(self, index, label, **options):
            changed = np.roll(np.arange(len(NAMES)), 1 + index % 3)[label.label_map]
            wrong = np.where(label.label_map >= 0, changed, -1).astype(np.int32)
            label = type(label)(wrong, label.initial, label.classes)
            return old(self, index, label, **options)

        return write

    wrap("stseg.self_training.store:PseudoLabelStore", "write", change)


# --- what came of a run ---

_CLOCKS = ("time", "data_time", "rank_data_time", "eta_seconds")


def load(path):
    return torch.load(path, weights_only=True)


def rounds(folder):
    return json.loads((folder / "self_training" / "rounds.json").read_text())


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if k not in _CLOCKS} for line in lines]
    return sorted((line for line in lines if len(line) > 1), key=lambda line: line["iteration"])


def labels(folder):
    """Bytes of every pseudo-label, by its path below the folder of self-training."""
    root = folder / "self_training"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.glob("round_*-*/labels/*")}


def differences(one, other, path=""):
    """Where two nested values with tensors differ, as paths."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, dict):
        one, other = ({k: v for k, v in d.items() if k not in _CLOCKS} for d in (one, other))
        if one.keys() != other.keys():
            return [f"{path}: keys"]
        return [d for k in one for d in differences(one[k], other[k], f"{path}/{k}")]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f"{path}: length"]
        pairs = enumerate(zip(one, other, strict=True))
        return [d for k, (a, b) in pairs for d in differences(a, b, f"{path}/{k}")]
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


def assert_same_end(folder, wanted):
    """Two runs ended alike: files, weights, optimizer, rounds, labels and curves."""
    assert rounds(folder) == rounds(wanted)
    assert labels(folder) == labels(wanted)
    found = {p.name for p in (folder / "self_training").iterdir()}
    assert found == {p.name for p in (wanted / "self_training").iterdir()}
    assert metrics(folder) == metrics(wanted)
    one, two = load(folder / "model_final.pth"), load(wanted / "model_final.pth")
    assert not differences(one, two)


@contextlib.contextmanager
def unchanged(folder):
    """Nothing in a folder may change inside."""
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    yield
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def digest(state):
    """Of a model's weights, as the store of pseudo-labels knows them."""
    return weights_digest(state)


def programming_error():
    """Labelling fails for no reason a user could know."""

    def act():
        raise ValueError("not ours")

    at_call("stseg.self_training.dataset_labeler", "predict", 1, act)
