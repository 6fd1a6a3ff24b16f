"""Small stand-ins for the encoders: real classes of open_clip and segment_anything, tiny sizes."""

import json
from pathlib import Path

import open_clip
from detectron2.config import CfgNode, get_cfg
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from segment_anything.modeling import TwoWayTransformer as Transformer

from stseg.config import add_stseg_config

CLIP_NAME, VIT_NAME, SAM_NAME = "test_tiny_convnext", "test_tiny_vit", "test_tiny_sam"
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
_CONFIGS = {
    CLIP_NAME: {"timm_model_name": "test_convnext", "timm_proj": "linear", "image_size": 64},
    VIT_NAME: {"image_size": 64, "layers": 4, "width": 64, "head_width": 32, "patch_size": 16},
}


def register(folder: Path) -> None:
    """Make the tiny models known to open_clip and segment_anything; harmless when repeated."""
    for name, vision in _CONFIGS.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": _TEXT}))
        open_clip.add_model_config(path)
    sam_model_registry[SAM_NAME] = tiny_sam


def tiny_sam(checkpoint: str | None = None) -> Sam:
    """SAM's own classes at small sizes: 128 pixels, 8 x 8 cells, 16 channels."""
    assert checkpoint is None
    return Sam(
        ImageEncoderViT(
            img_size=128,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=16,
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        PromptEncoder(
            embed_dim=16, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=4
        ),
        MaskDecoder(
            transformer_dim=16,
            transformer=Transformer(depth=1, embedding_dim=16, num_heads=2, mlp_dim=32),
        ),
    )


def tiny_cfg(**changes) -> CfgNode:
    """A config of STSeg over the tiny encoders; `changes` are keys with "__" for dots."""
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.CLIP.NAME = CLIP_NAME
    cfg.MODEL.CLIP.PRETRAINED = "random"
    cfg.MODEL.SAM.CHECKPOINT = "random"
    cfg.MODEL.TEXT.CACHE_DIR = ""
    cfg.MODEL.SAM.NAME = SAM_NAME
    cfg.MODEL.SAM.INPUT_SIZE = 64
    cfg.MODEL.STSEG.IMAGE_SIZE = [64, 64]
    cfg.MODEL.STSEG.DEA.NUM_HEADS = 4
    cfg.MODEL.SEM_SEG_HEAD.HIDDEN_DIM = 32
    cfg.MODEL.SEM_SEG_HEAD.DECODER_DIMS = [32, 16, 16]
    cfg.MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS = [8, 4, 4]
    for key, value in changes.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


#: What makes an EBSeg of a small STSeg.
EBSEG_KEYS = {
    "MODEL.META_ARCHITECTURE": "EBSeg",
    "MODEL.CLIP.NAME": VIT_NAME,
    "MODEL.EBSEG.HIDDEN_DIM": 32,
    "MODEL.EBSEG.NUM_QUERIES": 6,
    "MODEL.EBSEG.NUM_LAYERS": 3,
    "MODEL.EBSEG.NUM_PIXEL_LAYERS": 1,
}


def tiny_ebseg_cfg(**changes) -> CfgNode:
    """A config of EBSeg over the tiny encoders; see `tiny_cfg`."""
    small = {key.replace(".", "__"): value for key, value in EBSEG_KEYS.items()}
    return tiny_cfg(**{**small, **changes})


CEL_KEYS = {
    "MODEL.META_ARCHITECTURE": "CEL",
    "MODEL.CLIP.FINETUNE": "none",
    "MODEL.CEL.HIDDEN_DIM": 32,
    "MODEL.CEL.NUM_QUERIES": 6,
    "MODEL.CEL.NUM_LAYERS": 3,
    "MODEL.CEL.NUM_PIXEL_LAYERS": 1,
}


#: What makes a PGSeg of it, which has encoders of its own.
PGSEG_KEYS = {
    "MODEL.META_ARCHITECTURE": "PGSeg",
    "MODEL.PGSEG.IMAGE_SIZE": [32, 32],
    "MODEL.PGSEG.IMAGE_SIZE_TEST": [32, 32],
    "MODEL.PGSEG.PATCH_SIZE": 8,
    "MODEL.PGSEG.WIDTH": 32,
    "MODEL.PGSEG.DEPTHS": [2, 1, 1],
    "MODEL.PGSEG.NUM_HEADS": 4,
    "MODEL.PGSEG.NUM_GROUPS": [8, 4],
    "MODEL.PGSEG.EMBED_DIM": 16,
    "MODEL.PGSEG.HIDDEN_DIM": 24,
    "MODEL.PGSEG.TEXT.WIDTH": 16,
    "MODEL.PGSEG.TEXT.LAYERS": 1,
    "MODEL.PGSEG.TEXT.NUM_HEADS": 2,
}


def tiny_pgseg_cfg(**changes) -> CfgNode:
    """A config of a tiny PGSeg; see `tiny_cfg`."""
    small = {key.replace(".", "__"): value for key, value in PGSEG_KEYS.items()}
    return tiny_cfg(**{**small, **changes})


def tiny_cel_cfg(**changes) -> CfgNode:
    """A config of CEL over the tiny encoders; see `tiny_cfg`."""
    small = {key.replace(".", "__"): value for key, value in CEL_KEYS.items()}
    return tiny_cfg(**{**small, **changes})
