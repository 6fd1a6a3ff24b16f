"""What enters the blocks of open_clip's ViT, for pictures of any size."""

from open_clip.transformer import VisionTransformer
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.func import functional_call


def resized_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions for another grid: bicubic without antialiasing; the class token's stays.

    Args:
        table: (1 + n * n, C), the class token's position first.
        grid: (h, w) cells.

    Returns:
        (1 + h * w, C).
    """
    return resample_abs_pos_embed(table[None], list(grid), antialias=False)[0]


def embed_patches(visual: VisionTransformer, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Patches, class token, positions and the norm before the first block.

    Args:
        visual: its table of positions is resized for the call and stays as it is.
        images: (B, 3, H, W), normalised; what is left of a patch at the right and below is lost.

    Returns:
        (B, 1 + h * w, C), the class token first, and (h, w).
    """
    rows, columns = (
        side // n for side, n in zip(images.shape[-2:], visual.patch_size, strict=True)
    )
    positions = resized_positions(visual.positional_embedding, (rows, columns))
    replaced = {"visual.positional_embedding": positions}
    return functional_call(_Embedding(visual), replaced, (images,)), (rows, columns)


class _Embedding(nn.Module):
    """Makes `visual._embeds` (patches, class token, positions) a module's forward."""

    def __init__(self, visual: VisionTransformer):
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        return self.visual._embeds(images)
