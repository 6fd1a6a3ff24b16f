"""SED (CVPR 2024) from a checkout of its authors' repository, with random weights, as a reference.

Nothing of that repository is kept here, not even as a patch: it is imported from the folder given
(github.com/xb534/SED). What stands in its way is got round at run time, in a process of its own:

    weights from the network    random ones instead
    text embeddings             random unit ones: hours on a CPU, and no part of what is measured
    `.cuda()` in four places    the tensor itself, where the model is on the CPU
    `np.int` and its like       NumPy dropped them
    pooling before attention    2 in training and 1 in evaluation, as its `eval.sh` sets it

It needs torch, detectron2, timm and einops, imports nothing of stseg, and must come before the
stock open_clip in its process: the checkout brings its own.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONFIG = "configs/convnextB_768.yaml"
TEMPLATES, CHANNELS = 80, 640
_FORMER_NUMPY = {"int": int, "float": float, "bool": bool, "object": object}


def text_embeddings(num_classes: int, *, channels: int = CHANNELS, seed: int = 0) -> Tensor:
    """Random unit embeddings (T, 80, C) float32 on the CPU, the same for the same arguments.

    A class's templates differ less than classes do, as in CLIP.
    """
    generator = torch.Generator().manual_seed(seed)
    name = torch.randn(num_classes, 1, channels, generator=generator)
    wording = torch.randn(num_classes, TEMPLATES, channels, generator=generator)
    return F.normalize(name + 0.5 * wording, dim=-1)


def build(
    directory: Path,
    *,
    num_classes: int,
    device: str,
    train: bool,
    seed: int,
    rejection_topk: int = 0,
) -> nn.Module:
    """SED with ConvNeXt-B and random weights.

    Args:
        directory: checkout of github.com/xb534/SED.
        num_classes: T, of training and of evaluation.
        device: such as "cpu" or "cuda".
        train: in training mode and with the pooling of training, or in evaluation mode.
        seed: of the weights; equal seeds give equal weights whatever `num_classes`.
        rejection_topk: category early rejection in evaluation, 0 for none.

    Returns:
        Its meta-architecture. Called with Detectron2's dicts ("image" (3, H, W) uint8, "height",
        "width"; in training "sem_seg" (H, W) int64 with 255 to be ignored) it returns a dict of
        four losses, or `[{"sem_seg": (T, height, width) probabilities}]` for the first image.

    Raises:
        FileNotFoundError: if `directory` is no such checkout.
        RuntimeError: if another open_clip was imported before.
    """
    directory = Path(directory).resolve()
    _prepare(directory, device)
    import open_clip
    import sed  # noqa: F401, registers the model
    from detectron2.modeling import build_model
    from sed.modeling.transformer.sed_predictor import SEDPredictor

    make = open_clip.create_model_and_transforms

    def without_weights(name, pretrained=None, **kwargs):
        del pretrained
        return make(name, **kwargs)

    def random_text(
        self, names: Sequence[str], templates: Sequence[str], clip: nn.Module
    ) -> Tensor:
        del self, templates, clip
        return text_embeddings(len(names), seed=seed).transpose(0, 1).to(device)

    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.json"
        names.write_text(json.dumps([f"class {i}" for i in range(num_classes)]))
        cfg = _config(directory, names, device, train, rejection_topk)
        with (
            _replaced(open_clip, "create_model_and_transforms", without_weights),
            _replaced(SEDPredictor, "class_embeddings", random_text),
        ):
            torch.manual_seed(seed)
            model = build_model(cfg)
    _give_life(model, seed)
    return model.to(device).train(train)


def _config(directory: Path, names: Path, device: str, train: bool, topk: int):
    from detectron2.config import get_cfg
    from detectron2.projects.deeplab import add_deeplab_config
    from sed import add_sed_config

    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_sed_config(cfg)
    cfg.merge_from_file(str(directory / CONFIG))
    cfg.MODEL.DEVICE = device
    cfg.MODEL.SEM_SEG_HEAD.TRAIN_CLASS_JSON = str(names)
    cfg.MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON = str(names)
    cfg.MODEL.SEM_SEG_HEAD.POOLING_SIZES = [2, 2] if train else [1, 1]
    cfg.TEST.FAST_INFERENCE = bool(topk)
    cfg.TEST.TOPK = max(1, topk)
    return cfg


def _prepare(directory: Path, device: str) -> None:
    """Make the checkout importable."""
    paths = [directory / "open_clip" / "src", directory]
    if not (directory / CONFIG).is_file() or not paths[0].is_dir():
        raise FileNotFoundError(
            f"--reference: expected a checkout of github.com/xb534/SED, got {directory}."
        )
    known = sys.modules.get("open_clip")
    if known is not None and not Path(known.__file__).is_relative_to(directory):
        raise RuntimeError(
            f"open_clip: expected the checkout's own, got {known.__file__}. Build the reference "
            "in a process of its own, before anything else imports open_clip."
        )
    for path in map(str, paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    for name, kind in _FORMER_NUMPY.items():
        if name not in vars(np):
            setattr(np, name, kind)
    if device == "cpu":
        torch.Tensor.cuda = lambda self, *args, **kwargs: self


@torch.no_grad()
def _give_life(model: nn.Module, seed: int) -> None:
    """Random norms, biases and layer scales: fresh ones are 1, 0 and 1e-6, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.ndim != 1:
            continue
        noise = torch.rand(weight.shape, generator=generator)
        if name.endswith("gamma"):
            weight.copy_(0.1 + 0.3 * noise)
        elif name.endswith("bias"):
            weight.copy_(0.2 * (noise - 0.5))
        else:
            weight.copy_(0.5 + noise)


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    former = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)
