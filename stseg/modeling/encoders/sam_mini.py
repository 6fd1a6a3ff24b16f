"""SAM-mini: the stock classes of `segment_anything` at a size for drawn scenes and a CPU."""

from functools import partial

from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

IMAGE_SIZE = 128
PATCH_SIZE = 8
WIDTH = 96
DEPTH = 5
GLOBAL_BLOCKS = (2, 4)
PROMPT_DIM = 128


def build_sam_mini(
    *,
    patch_size: int = PATCH_SIZE,
    width: int = WIDTH,
    depth: int = DEPTH,
    global_blocks: tuple[int, ...] = GLOBAL_BLOCKS,
) -> Sam:
    """A SAM for 128 x 128 pixels with fresh weights, in evaluation mode as SAM's own builders.

    Args:
        patch_size: side of an embedding cell, pixels; the embedding has 128 / patch_size cells a
            side, the low-resolution masks four times as many.
        width: channels of the image encoder's blocks, a multiple of 32.
        depth: number of blocks.
        global_blocks: which of them look at the whole picture; the others see 8 x 8 cells.
    """
    side = IMAGE_SIZE // patch_size
    sam = Sam(
        ImageEncoderViT(
            img_size=IMAGE_SIZE,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=width // 32,
            out_chans=PROMPT_DIM,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=8,
            global_attn_indexes=global_blocks,
        ),
        PromptEncoder(
            embed_dim=PROMPT_DIM,
            image_embedding_size=(side, side),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        MaskDecoder(
            transformer_dim=PROMPT_DIM,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=PROMPT_DIM, num_heads=4, mlp_dim=256
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=PROMPT_DIM,
        ),
    )
    return sam.eval()
