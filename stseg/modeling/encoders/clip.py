"""CLIP models of stock open_clip: made by name, with weights or knowingly without.

What becomes of their image towers is in `towers`.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import open_clip
import torch
from detectron2.config import CfgNode
from safetensors import SafetensorError
from torch import Tensor, nn

from stseg.checkpoint import (
    LOADED_NEXT,
    RANDOM,
    READ_ERRORS,
    read_state_dict,
    reason_of,
)
from stseg.modeling.encoders.convnext_mini import add_mini_configs
from stseg.modeling.encoders.efficientnet_photo import efficientnet_lite2_photo as _  # noqa: F401
from stseg.modeling.encoders.hub import file_of_tag
from stseg.modeling.encoders.towers import CLIPImageEncoder, wrap_image_tower
from stseg.weights import resolve

logger = logging.getLogger(__name__)

add_mini_configs()

#: Of architectures that no tag of open_clip tells: as their weights were trained.
_STATISTICS = {"efficientnet_lite2": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
_LOAD_ERRORS = (*READ_ERRORS, SafetensorError, StopIteration)


def create_clip(name: str, pretrained: str = RANDOM, *, drop_path: float = 0.0) -> nn.Module:
    """Make an open_clip model on the CPU in float32.

    Args:
        name: open_clip architecture, such as "convnext_base_w_320".
        pretrained: a tag of open_clip ("laion_aesthetic_s13b_b82k", fetched from its hub), a local
            file, `stseg://` or `weights://` name, read as data only; "random" for random weights,
            with a warning; `LOADED_NEXT` without one, for who loads a checkpoint next. A config
            has no such default.
        drop_path: stochastic depth of timm's towers in training, in [0, 1). Stock open_clip has
            0.1 for ConvNeXt-B; SED trains base with 0 and large with 0.1.

    Raises:
        ValueError: for an unknown name, a text tower of transformers without it, a `pretrained`
            that is neither tag nor file, or a file that holds another model.
        FileNotFoundError: for a tag that is not on this machine where no network is.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(
            f"MODEL.CLIP.NAME: expected an open_clip architecture, got {name!r}. "
            "Try convnext_base_w_320, convnext_large_d_320 or ViT-B-16."
        )
    _check_transformers(name, config, "hf_model_name")
    overrides = {}
    if "timm_model_name" in config["vision_cfg"]:
        overrides["vision_cfg"] = {**config["vision_cfg"], "timm_drop_path": drop_path}
    check_clip_pretrained(name, pretrained)
    if pretrained in open_clip.list_pretrained_tags_by_model(name):
        path = file_of_tag(name, pretrained)
        if not path:
            return open_clip.create_model(name, pretrained=pretrained, **overrides)
        pretrained = path
    with _silent_root_logger():
        clip = open_clip.create_model(
            name, pretrained=None, force_preprocess_cfg=_pixel_statistics(name), **overrides
        )
    if pretrained == RANDOM:
        logger.warning("MODEL.CLIP.PRETRAINED is 'random': CLIP %s has learnt nothing.", name)
    elif pretrained != LOADED_NEXT:
        _load_clip(clip, name, pretrained)
    return clip


def _pixel_statistics(name: str) -> dict:
    """Mean and std of the published weights, of which a file says nothing; {} if they differ."""
    if name in _STATISTICS:
        return _STATISTICS[name]
    tags = open_clip.list_pretrained_tags_by_model(name)
    configs = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    found = [{key: x for key, x in config.items() if key in ("mean", "std")} for config in configs]
    return found[0] if found and all(x == found[0] for x in found) else {}


@contextmanager
def _silent_root_logger() -> Iterator[None]:
    """Inside, open_clip does not say of a model whose weights come next that it is random.

    Nor does it set up the root logger: the first line to one without handlers does.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _check_transformers(name: str, config: dict, key: str) -> None:
    """Refuse what the package `transformers` would have to bring, where it is missing."""
    if config["text_cfg"].get(key) and find_spec("transformers") is None:
        what = {"hf_model_name": "text tower", "hf_tokenizer_name": "tokenizer"}[key]
        raise ValueError(
            f"MODEL.CLIP.NAME: expected a CLIP with a {what} of open_clip's own, got {name!r}, "
            f"whose {config['text_cfg'][key]!r} needs the package transformers. Install it, or "
            "take convnext_base_w_320, ViT-B-16 or PE-Core-B-16."
        )


def check_clip_pretrained(name: str, pretrained: str) -> None:
    """Refuse a CLIP without weights, unless "random" is written out.

    Raises:
        ValueError: if `pretrained` is no tag of this architecture, no file and not "random".
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in (*tags, RANDOM, LOADED_NEXT) or (
        pretrained and Path(resolve(pretrained)).is_file()
    ):
        return
    raise ValueError(
        f"MODEL.CLIP.PRETRAINED: expected a file or a tag of {name!r} "
        f"({', '.join(tags) or 'none'}), got {pretrained!r}. To try something out, write "
        f"{RANDOM!r}."
    )


def _load_clip(clip: nn.Module, name: str, path: str) -> None:
    local, is_numpy = resolve(path), Path(path).suffix in (".npz", ".npy")
    # Read here first: open_clip takes damaged files, and does not know every wrapper.
    state = {} if is_numpy else read_state_dict(path, "MODEL.CLIP.PRETRAINED")
    try:
        try:
            open_clip.load_checkpoint(clip, local, weights_only=True)
        except _LOAD_ERRORS:
            if is_numpy:
                raise
            _load_bare(clip, state)
    except _LOAD_ERRORS as error:
        raise ValueError(
            f"MODEL.CLIP.PRETRAINED: expected the weights of CLIP {name!r}, got {path!r}, which "
            f"holds others or cannot be read as data ({reason_of(error)}). "
            "Set MODEL.CLIP.NAME to the file's model, or fetch the file again."
        ) from error


def _load_bare(clip: nn.Module, state: dict[str, Tensor]) -> None:
    """By way of a file, which is what open_clip reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.pt")
        torch.save(state, path)
        open_clip.load_checkpoint(clip, str(path), weights_only=True)


def build_clip(cfg: CfgNode) -> nn.Module:
    """The whole CLIP of `MODEL.CLIP.*`; its towers go to the image and the text encoder.

    Raises:
        ValueError: as `create_clip`, and for a tokenizer of transformers without it.
    """
    clip = cfg.MODEL.CLIP
    if config := open_clip.get_model_config(clip.NAME):
        _check_transformers(clip.NAME, config, "hf_tokenizer_name")
    return create_clip(clip.NAME, clip.PRETRAINED, drop_path=clip.DROP_PATH)


def build_image_encoder(cfg: CfgNode, visual: nn.Module) -> CLIPImageEncoder:
    """The dense encoder of `MODEL.CLIP.*` around a tower."""
    clip = cfg.MODEL.CLIP
    return wrap_image_tower(
        visual, finetune=clip.FINETUNE, gradient_checkpointing=clip.GRADIENT_CHECKPOINTING
    )
