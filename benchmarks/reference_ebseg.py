"""EBSeg (CVPR 2024) from a checkout of its authors' repository, with weights of ours.

Nothing of that repository is kept here, not even as a patch: it is imported from the folder given
(github.com/slonetime/EBSeg). What stands in its way is got round at run time, in a process of its
own:

    weights from the network and of SAM     random ones, and ours over them
    the compiled deformable attention       an empty module: its callers go on in PyTorch, as the
                                            code does on every CPU
    wandb                                   an empty module; it is imported, never asked
    text embeddings, lists of seen classes  given: the text tower is no part of what is measured
    open_clip                               2.20, among the interpreter's own packages: in 2.24 and
                                            later the code's blocks fit no more, silently

It needs torch, detectron2 and scipy, too; of stseg it asks what published keys are called here.
"""

import functools
import importlib.metadata
import sys
import types
from pathlib import Path
from unittest import mock

import torch
from torch import nn

CONFIG = "configs/ebseg/ebseg_b.yaml"
DATASET = "benchmark"  # by which the model finds its words
OPEN_CLIP = "2.20."
#: Keys that a file of ours has no name for: constants.
CONSTANTS = ("criterion.empty_weight", "ov_classifier.attn_mask")

_PREDICTOR = "sem_seg_head.predictor"
PARTS = {
    "SAM": ("backbone",),
    "CLIP lower": ("clip_visual_extractor",),
    "CLIP upper": ("clip_rec_head",),
    "pixel decoder": ("sem_seg_head:feature_fusion", "sem_seg_head.pixel_decoder:forward_features"),
    "attention bias": (f"{_PREDICTOR}.attn_proj", f"{_PREDICTOR}.bias_scaling"),
    "mask decoder": (_PREDICTOR,),
    "answer": (":semantic_inference",),
}


def build(directory: Path, weights: Path, count: int) -> nn.Module:
    """The published EBSeg with ViT-B/16 in evaluation mode, on the CPU.

    Args:
        directory: checkout of github.com/slonetime/EBSeg.
        weights: file of `ebseg_sides.write_weights`.
        count: T, names.

    Returns:
        Its meta-architecture. Called with Detectron2's dicts ("image", "height", "width", and
        `DATASET` as "dataset_name" of "meta") it returns "sem_seg" (T, height, width) for each,
        once `dataset_overlap_maps` has marks of seen classes.

    Raises:
        FileNotFoundError: if `directory` is no such checkout.
        RuntimeError: for another open_clip, or weights that do not fit.
    """
    directory = Path(directory).resolve()
    _prepare(directory)
    import ebseg.model.mask2former.modeling  # noqa: F401, registers the decoders
    import open_clip
    from ebseg.model import EBSeg as published

    make = open_clip.create_model_and_transforms

    def without_file(name: str, pretrained: str = "") -> tuple:
        del pretrained
        return make(name, force_quick_gelu=True)

    registry = published.sam_model_registry
    without_checkpoint = {"vit_b": functools.partial(registry["vit_b"], checkpoint=None)}
    with (
        mock.patch.object(open_clip, "create_model_and_transforms", without_file),
        mock.patch.dict(registry, without_checkpoint),
    ):
        model = published.EBSeg(_config(directory))
    state = torch.load(weights, mmap=True, weights_only=True)
    _load(model, state["model"])
    model.ov_classifier.cache[DATASET] = state["vectors"][:count].clone()
    model.eval()
    return model


def _load(model: nn.Module, ours: dict[str, torch.Tensor]) -> None:
    """Our weights under published names."""
    from stseg.checkpoint import ebseg_decoders, ebseg_encoders

    keys = [key for key in model.state_dict() if key not in CONSTANTS]
    lower = ebseg_encoders.lower_depth(keys)
    names = {key: ebseg_decoders.rename(ebseg_encoders.rename(key, lower)) for key in keys}
    missing = [name for name in names.values() if name not in ours]
    if missing:
        raise RuntimeError(f"weights: expected tensors for all of EBSeg, {missing} are missing.")
    model.load_state_dict({key: ours[name] for key, name in names.items()}, strict=False)


def _config(directory: Path):
    from detectron2.config import get_cfg
    from detectron2.projects.deeplab import add_deeplab_config
    from ebseg import add_ebseg_config

    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_ebseg_config(cfg)
    cfg.merge_from_file(str(directory / CONFIG))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def _prepare(directory: Path) -> None:
    """Make the checkout importable."""
    if not (directory / CONFIG).is_file():
        raise FileNotFoundError(
            f"--reference: expected a checkout of github.com/slonetime/EBSeg, got {directory}."
        )
    version = importlib.metadata.version("open_clip_torch")
    if not version.startswith(OPEN_CLIP):
        raise RuntimeError(
            f"open_clip: expected {OPEN_CLIP}x, whose blocks the published code fits, got "
            f"{version}. Name an interpreter that has it by --reference-python."
        )
    for name in ("MultiScaleDeformableAttention", "wandb"):
        sys.modules.setdefault(name, types.ModuleType(name))
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
