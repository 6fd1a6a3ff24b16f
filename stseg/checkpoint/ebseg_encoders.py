"""Key names of EBSeg's checkpoints (github.com/slonetime/EBSeg) for what encodes: CLIP and SAM.

CLIP's image tower lies there in two parts and, from the first block of the second stream on, under
other names of the same tensors; here it is open_clip's. The norm and projection behind the last
block lie there twice: `clip_visual_extractor.{ln_post,proj}` and `clip_rec_head.{ln_post,proj}`
have one name here, so that the second, which is loaded last there, wins here, too.
"""

import re
from collections.abc import Iterable

_LOWER, _UPPER = "clip_visual_extractor.", "clip_rec_head."
_TOWER = "image_encoder.visual."

#: Key that is left out: the causal mask of the text tower, which open_clip makes itself.
LEFT_OUT = "ov_classifier.attn_mask"

# Applied in order to a key of a part; each replaces one spelling by ours.
_PARTS: tuple[tuple[str, str], ...] = (
    (r"^ov_classifier\.bg_embed$", "classifier.rest"),
    (r"^ov_classifier\.", "text_encoder.tower.clip."),
    (r"^backbone\.", "sam_encoder.encoder."),
)
_ATTENTION: tuple[tuple[str, str], ...] = (
    (r"\battn\.qkv\.", "attn.in_proj_"),
    (r"\battn\.proj\.", "attn.out_proj."),
)


def lower_depth(keys: Iterable[str]) -> int:
    """How many blocks the lower part of the image tower has in a file of these keys; 0 for none."""
    found = (re.match(rf"{re.escape(_LOWER)}resblocks\.(\d+)\.", key) for key in keys)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def rename(key: str, lower: int) -> str:
    """Our name for a key of EBSeg's encoders; other keys come back as they are.

    Args:
        key: of the file; `LEFT_OUT` has no name here.
        lower: blocks of the lower part, see `lower_depth`.
    """
    if key.startswith((_LOWER, _UPPER)):
        return _of_tower(key, lower)
    for pattern, ours in _PARTS:
        key = re.sub(pattern, ours, key)
    return key


def _of_tower(key: str, lower: int) -> str:
    first = 0 if key.startswith(_LOWER) else lower
    key = key.removeprefix(_LOWER).removeprefix(_UPPER)
    for pattern, ours in _ATTENTION:
        key = re.sub(pattern, ours, key)
    block = re.match(r"resblocks\.(\d+)\.", key)
    if block:
        key = f"transformer.resblocks.{first + int(block[1])}.{key[block.end() :]}"
    return _TOWER + key
