"""Tells by its keys what a checkpoint is, and calls the tensors of published ones by our names."""

from collections.abc import Callable, Iterable

from torch import Tensor

from stseg.checkpoint import ebseg_decoders, ebseg_encoders, pgseg_names, sed


def _of_sed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {sed.rename(key): value for key, value in state.items()}


def _of_ebseg(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the constants that are made anew: weights of the loss, the text tower's mask."""
    lower = ebseg_encoders.lower_depth(state)
    made_anew = (*ebseg_decoders.DERIVED, ebseg_encoders.LEFT_OUT)
    return {
        ebseg_decoders.rename(ebseg_encoders.rename(key, lower)): value
        for key, value in state.items()
        if key not in made_anew
    }


# Published system -> its tensors under our names.
_READERS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "SED": _of_sed,
    "EBSeg": _of_ebseg,
    "PGSeg": pgseg_names.convert,
}
_CURES = {
    "SAM": "Give it as MODEL.SAM.CHECKPOINT.",
    "an open_clip ConvNeXt": "Give it as MODEL.CLIP.PRETRAINED.",
    "an open_clip EfficientNet": "Give it as MODEL.CLIP.PRETRAINED.",
    "an open_clip or OpenAI ViT": "Give it as MODEL.CLIP.PRETRAINED.",
}

# Substrings that must all occur in some key, most telling first.
_SIGNATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stseg", ("image_encoder.visual.", "head.embed.", "head.stages.")),
    ("stseg", ("head.scale", "head.offset")),
    ("stseg", ("image_encoder.visual.", "mask_decoder.query_feats.")),
    ("stseg", ("image_encoder.stages.0.grouping.",)),
    ("SED", ("sem_seg_head.predictor.transformer.decoder1.cnext.", "predictor.clip_model.visual.")),
    ("CAT-Seg", ("sem_seg_head.predictor.transformer.layers.0.", "predictor.clip_model.")),
    ("EBSeg", ("ov_classifier.", "sem_seg_head.")),
    ("PGSeg", ("img_encoder.layers.0.downsample.", "text_encoder.transformer.")),
    ("SAM", ("image_encoder.neck.", "mask_decoder.", "prompt_encoder.")),
    ("an open_clip ConvNeXt", ("visual.trunk.stem.", "text_projection")),
    ("an open_clip EfficientNet", ("visual.trunk.conv_stem.", "text_projection")),
    ("an open_clip or OpenAI ViT", ("visual.class_embedding", "text_projection")),
    ("a Detectron2 detector", ("backbone.", "roi_heads.")),
    ("a torchvision ResNet", ("layer1.0.conv1.", "fc.weight")),
)


def identify(keys: Iterable[str]) -> str:
    """Name the kind of model whose state dict has these keys; "unknown" if none fits."""
    keys = list(keys)
    for name, parts in _SIGNATURES:
        if all(any(part in key for key in keys) for part in parts):
            return name
    return "unknown"


def our_names(state: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], str]:
    """A checkpoint's tensors under our names, and the published system it is of, "" for ours.

    What looks like nothing known is taken for ours: systems of others have names of their own.

    Args:
        state: by the names of the file.
        where: what named the file, for messages.

    Raises:
        ValueError: if the file is another system's; names what it looks like, and the cure.
    """
    kind = identify(state)
    if kind in ("stseg", "unknown"):
        return state, ""
    if kind not in _READERS:
        raise ValueError(
            f"{where}: expected a checkpoint of {' or '.join(_READERS)}, got one that looks like "
            f"{kind} ({len(state)} keys, the first {next(iter(state), 'none')!r}). "
            f"{_CURES.get(kind, 'It cannot be loaded into this model.')}"
        )
    return _READERS[kind](state), kind
