"""A second residual stream through CLIP's blocks that keeps what each patch shows.

In the second stream a token attends by likeness of values, softmax(v v^T / sqrt(d)) v, and has no
MLP; the values are those of the ordinary stream at that block (EBSeg, CVPR 2024;
attention by values is CLIP Surgery's, Li et al., 2023). No weight is added.

Shapes: B images, L patches, C channels, d channels of a head.
"""

from dataclasses import dataclass

from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.encoders.patch_tokens import embed_patches
from stseg.modeling.layers import add_attention, finish_block, join_heads, project_heads


@dataclass(frozen=True)
class Streams:
    """What passes from block to block; the class token comes first.

    Attributes:
        tokens: (B, 1 + L, C), the ordinary stream.
        values: (B, 1 + L, C), the second stream, where it runs.
    """

    tokens: Tensor
    values: Tensor | None = None

    def with_values(self) -> "Streams":
        """The second stream starts as the ordinary one, unless it runs already."""
        return self if self.values is not None else Streams(self.tokens, self.tokens)


def advance(block: nn.Module, streams: Streams, heads: tuple[Tensor, Tensor, Tensor]) -> Streams:
    """Both streams behind a block.

    Args:
        block: plain.
        streams: in front of it.
        heads: queries, keys and values of the ordinary stream, (B, heads, 1 + L, d) each.
    """
    tokens = finish_block(block, streams.tokens, join_heads(F.scaled_dot_product_attention(*heads)))
    return Streams(tokens, advance_values(block, streams.values, heads[2]))


def advance_values(block: nn.Module, stream: Tensor | None, v: Tensor) -> Tensor | None:
    """The second stream behind a block, given the ordinary stream's values; None stays None."""
    if stream is None:
        return None
    return add_attention(block, stream, join_heads(F.scaled_dot_product_attention(v, v, v)))


def project_tokens(visual: VisionTransformer, tokens: Tensor) -> Tensor:
    """Tokens (..., C) as float32 unit embeddings (..., D) that can be compared with text."""
    return F.normalize((visual.ln_post(tokens) @ visual.proj).float(), dim=-1)


def embed_cells(
    visual: VisionTransformer, images: Tensor, values_from: int
) -> tuple[Tensor, Tensor]:
    """What a ViT of CLIP says of a picture, by its class token, and of each patch.

    Args:
        visual: tower with a class token and plain blocks.
        images: (B, 3, H, W), normalised.
        values_from: blocks in front of the second stream.

    Returns:
        Unit embeddings (B, D) and (B, h, w, D).
    """
    tokens, grid = embed_patches(visual, images)
    streams = Streams(tokens)
    for i, block in enumerate(visual.transformer.resblocks):
        if i == values_from:
            streams = streams.with_values()
        streams = advance(block, streams, project_heads(block, streams.tokens))
    whole = project_tokens(visual, streams.tokens[:, 0])
    cells = project_tokens(visual, streams.values[:, 1:])
    return whole, cells.unflatten(1, grid)
