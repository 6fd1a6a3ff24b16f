"""A tiny model and a tiny folder data set, importable by child processes."""

import os
import shutil
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from PIL import Image
from torch import nn
from torch.nn import functional as F

from stseg.engine import run_process, train_command

CLASSES = ("dark", "middle", "bright")


@META_ARCH_REGISTRY.register()
class EngineTestNet(nn.Module):
    """Two convolutions; the loss is a mean over images. Some parts are frozen, one is a norm."""

    dropout = 0.0

    def __init__(self, cfg):
        super().__init__()
        self.clip = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Conv2d(8, len(CLASSES), 1)
        self.text = nn.Linear(4, 4).requires_grad_(False)

    def _logits(self, image):
        image = image.to(self.head.weight.device)
        x = F.relu(self.norm(self.clip(image[None].float() / 255)))
        return self.head(F.dropout(x, self.dropout, self.training))

    def forward(self, batch):
        if self.training:
            time.sleep(float(os.environ.get("ENGINE_TEST_DELAY", "0")))
            return self._losses(batch)
        outputs = []
        for item in batch:
            size = (item["height"], item["width"])
            logits = F.interpolate(self._logits(item["image"]).float(), size, mode="bilinear")
            outputs.append({"sem_seg": logits[0].softmax(dim=0)})
        return outputs

    def _losses(self, batch):
        losses = []
        for item in batch:
            target = item["sem_seg"][None].to(self.head.weight.device)
            losses.append(F.cross_entropy(self._logits(item["image"]), target, ignore_index=-1))
        loss = torch.stack(losses)
        return {"loss_main": loss.mean(), "loss_aux": 0.1 * (loss**2).mean()}


@META_ARCH_REGISTRY.register()
class EngineTestDropoutNet(EngineTestNet):
    """Draws random numbers in every forward pass."""

    dropout = 0.3


def make_data(folder, count=10, size=(24, 32)):
    """Images of three grey levels with their labels; returns the entry for DATASETS.FOLDERS."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        label = np.kron(rng.integers(0, 3, (3, 4)), np.ones((8, 8), int)).astype(np.uint8)
        label = label[: size[0], : size[1]]
        image = 40 + 80 * label[..., None] + rng.integers(0, 40, (*label.shape, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{k:02d}.png")
        Image.fromarray(label).save(folder / "labels" / f"{k:02d}.png")
    (folder / "names.txt").write_text("\n".join(CLASSES))
    name = f"engine_{folder.parent.name}_{folder.name}"
    return [name, *(str(folder / part) for part in ("images", "labels", "names.txt"))]


def make_opts(entry, output_dir, *more):
    """KEY VALUE pairs of a run of a few seconds; later pairs win."""
    opts = {
        "DATASETS.FOLDERS": [entry],
        "DATASETS.TRAIN": (entry[0],),
        "DATASETS.TEST": (entry[0],),
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.CROP.SIZE": [16, 16],
        "INPUT.MIN_SIZE_TRAIN": (24,),
        "INPUT.MIN_SIZE_TEST": 24,
        "MODEL.META_ARCHITECTURE": "EngineTestNet",
        "MODEL.DEVICE": "cpu",
        "OUTPUT_DIR": str(output_dir),
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 1.0,
        "SOLVER.LOG_PERIOD": 1,
        "SOLVER.LR_MULTIPLIERS": [["clip", 0.1]],
        "SOLVER.MAX_ITER": 3,
        "TEST.EVAL_PERIOD": 0,
        "TEST.PICTURES": 0,
    }
    opts.update(zip(more[::2], more[1::2], strict=True))
    return [part if isinstance(part, str) else repr(part) for kv in opts.items() for part in kv]


def main(args):
    """What child processes run: importing this module has registered the models."""
    torch.set_num_threads(1)
    return run_process(args)


def train_and_resume(args):
    """`main`, then a run with dropout and the same resumed in its middle, in the same processes."""
    main(args)
    output = Path(args.opts[args.opts.index("OUTPUT_DIR") + 1])
    middle = ["MODEL.META_ARCHITECTURE", "EngineTestDropoutNet", "SOLVER.CHECKPOINT_PERIOD", "2"]
    opts = [*args.opts, *middle, "SOLVER.MAX_ITER", "4", "DATALOADER.NUM_WORKERS", "0"]
    whole, resumed = (output.with_name(f"{output.name}_{name}") for name in ("whole", "resumed"))
    main(Namespace(**{**vars(args), "opts": [*opts, "OUTPUT_DIR", str(whole)]}))
    if comm.is_main_process():
        resumed.mkdir()
        shutil.copy(whole / "model_0000001.pth", resumed)
        (resumed / "last_checkpoint").write_text("model_0000001.pth")
    comm.synchronize()
    opts += ["OUTPUT_DIR", str(resumed)]
    main(Namespace(**{**vars(args), "opts": opts, "resume": True}))


def stop_in_the_first_step():
    """What a process runs that is to be interrupted before its first checkpoint."""

    def stop(self, batch):
        raise KeyboardInterrupt

    EngineTestNet._losses = stop
    train_command()


def run():
    """`train_command` in a process that knows the models here."""
    train_command()


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_command()
