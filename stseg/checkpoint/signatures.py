"""Tells by its keys what a checkpoint is, so that a wrong file can be named for its looks."""

from collections.abc import Iterable

# Substrings that must all occur in some key, most telling first.
_SIGNATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("stseg", ("image_encoder.visual.", "head.embed.", "head.stages.")),
    ("SED", ("sem_seg_head.predictor.transformer.decoder1.cnext.", "predictor.clip_model.visual.")),
    ("CAT-Seg", ("sem_seg_head.predictor.transformer.layers.0.", "predictor.clip_model.")),
    ("EBSeg", ("ov_classifier.", "sem_seg_head.")),
    ("PGSeg", ("img_encoder.layers.0.downsample.", "text_encoder.transformer.")),
    ("SAM", ("image_encoder.neck.", "mask_decoder.", "prompt_encoder.")),
    ("an open_clip ConvNeXt", ("visual.trunk.stem.", "text_projection")),
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
