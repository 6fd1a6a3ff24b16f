"""CLIP's ViT in two parts, the upper one asked by query tokens that look where they are told.

EBSeg (CVPR 2024) after SAN (CVPR 2023): copies of the class token, taken
between the two parts, go through the upper blocks with a bias on their attention and come out as
embeddings of what they looked at. The published form puts Q queries in front of the other tokens,
which makes attention over Q + 1 + L tokens with -100 wherever one may not look. Here the patches
go through alone, once, whoever asks later, and a query looks at itself and the patches: the same
numbers, for class token and patches never see a query, queries see neither the class token nor one
another, and with the query's own key at no bias, what -100 leaves of a weight is below float32's
rounding unless scores differ by more than 80.

Shapes: B images, h and w cells, L = h * w patches, C channels of the tower, D of the embedding,
d of a head, Q queries.
"""

from collections.abc import Mapping, Sequence

from detectron2.layers import ShapeSpec
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from stseg.modeling.encoders.freezing import train_only
from stseg.modeling.encoders.patch_tokens import embed_patches
from stseg.modeling.encoders.pixel_statistics import add_clip_statistics
from stseg.modeling.encoders.query_attention import look, pool_bias
from stseg.modeling.encoders.value_stream import (
    Streams,
    advance,
    advance_values,
    project_tokens,
)
from stseg.modeling.layers import finish_block, is_plain_block, join_heads, project_heads


class SplitViT(nn.Module):
    """A frozen ViT of open_clip, its weights under open_clip's own names.

    Attributes:
        visual: the tower.
        num_heads: of a block, as many as a bias may have.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        *,
        lower: int,
        taps: Sequence[int],
        values_from: int,
        trained: Sequence[str] = ("positional_embedding",),
    ):
        """Wrap a tower, which is frozen.

        Args:
            visual: image tower of an open_clip model, with its activation as loaded: OpenAI's
                weights want QuickGELU.
            lower: blocks of the lower part (EBSeg: 9 of 12, 18 of 24).
            taps: numbers of blocks after which the patches are given as maps, "block_<n>"; 0 is
                in front of the first block (EBSeg: 3, 6, 9 and 6, 12, 18).
            values_from: blocks in front of the second stream (EBSeg: 2 and 4).
            trained: parameters of the tower that train.

        Raises:
            ValueError: for a tower without a class token or of other blocks, a number of blocks
                that it does not have, or an unknown parameter.
        """
        super().__init__()
        _check_tower(visual)
        depth = len(visual.transformer.resblocks)
        for name, numbers, most in (
            ("lower", (lower,), depth - 1),
            ("taps", tuple(taps), lower),
            ("values_from", (values_from,), lower),
        ):
            if not all(0 <= number <= most for number in numbers):
                raise ValueError(
                    f"{name}: expected blocks from 0 to {most} of all {depth}, got {numbers}."
                )
        train_only(visual, trained, "CLIP's image tower")
        self.visual = visual
        self.lower_depth, self.taps, self.values_from = lower, tuple(taps), values_from
        self.num_heads = visual.transformer.resblocks[0].attn.num_heads
        add_clip_statistics(self, visual)

    def train(self, mode: bool = True) -> "SplitViT":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides, in pixels of the tower's input, of the maps."""
        width, embed_dim = self.visual.proj.shape
        stride = self.visual.patch_size[0]
        channels = {**{f"block_{n}": width for n in self.taps}, "dense": embed_dim}
        return {name: ShapeSpec(channels=c, stride=stride) for name, c in channels.items()}

    def forward(self, images: Tensor, *, dense: bool) -> dict[str, Tensor]:
        """All that needs no query.

        Args:
            images: (B, 3, H, W), normalised; what is left of a patch at the right and below is
                lost.
            dense: whether the second stream runs, too; the published model does so in evaluation
                only. Changes no other output.

        Returns:
            "block_<n>" of the taps: (B, C, h, w); "class_token": (B, C), between the parts;
            "keys_0", "values_0" and on: (B, heads, h, w, d) of the patches at upper blocks, for
            `ask`; if asked for "dense": (B, D, h, w), unit length along D.
        """
        streams, grid, features = self.run_lower(images, dense=dense)
        features["class_token"] = streams.tokens[:, 0]
        upper = self._upper()
        for i, block in enumerate(upper):
            q, k, v = project_heads(block, streams.tokens)
            for name, x in (("keys", k), ("values", v)):
                features[f"{name}_{i}"] = x[:, :, 1:].unflatten(2, grid)
            if i < len(upper) - 1:
                streams = advance(block, streams, (q, k, v))
            else:  # nobody asks for the ordinary stream behind it
                streams = Streams(streams.tokens, advance_values(block, streams.values, v))
        if streams.values is not None:
            cells = project_tokens(self.visual, streams.values[:, 1:])
            features["dense"] = cells.transpose(1, 2).unflatten(2, grid)
        return features

    def run_lower(
        self, images: Tensor, *, dense: bool
    ) -> tuple[Streams, tuple[int, int], dict[str, Tensor]]:
        """The streams behind the lower part, the grid (h, w) and the taps; see `forward`."""
        tokens, grid = embed_patches(self.visual, images)
        streams, taps = Streams(tokens), {}
        for n in range(self.lower_depth + 1):
            if n in self.taps:
                taps[f"block_{n}"] = streams.tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
            if n == self.values_from and dense:
                streams = streams.with_values()
            if n < self.lower_depth:
                block = self.visual.transformer.resblocks[n]
                streams = advance(block, streams, project_heads(block, streams.tokens))
        return streams, grid, taps

    def ask(self, features: Mapping[str, Tensor], bias: Tensor) -> Tensor:
        """What is seen where queries look.

        Several groups of queries, such as those of all rounds of a decoder, can be asked one after
        the other, or at once along Q: none knows of another.

        Args:
            features: of `forward`.
            bias: (B, heads, Q, H, W), or with 1 for heads, added to the scores of a query with the
                patches; of any resolution, see `pool_bias`.

        Returns:
            (B, Q, D), unit length along D.

        Raises:
            ValueError: for another number of heads.
        """
        if bias.shape[1] not in (1, self.num_heads):
            raise ValueError(
                f"bias: expected (B, {self.num_heads} or 1 heads, Q, H, W), got "
                f"{tuple(bias.shape)}. Let the mask decoder give as many heads as CLIP's blocks."
            )
        bias = pool_bias(bias, features["keys_0"].shape[2:4]).flatten(3)
        x = features["class_token"][:, None]  # alike for all queries until they have looked
        for i, block in enumerate(self._upper()):
            patches = (features[f"{name}_{i}"].flatten(2, 3) for name in ("keys", "values"))
            seen = look(*project_heads(block, x), *patches, bias)
            x = finish_block(block, x, join_heads(seen))
        return project_tokens(self.visual, x)

    def _upper(self) -> Sequence[nn.Module]:
        return self.visual.transformer.resblocks[self.lower_depth :]


def build_split_vit(visual: nn.Module, *, trained: Sequence[str] = ()) -> SplitViT:
    """Split a tower of any depth where EBSeg splits ViT-B/16 and ViT-L/14.

    Three quarters of the blocks are the lower part, which gives three maps at equal distances; the
    second stream leaves out the first sixth of the blocks.

    Args:
        visual: image tower of an open_clip model, which is frozen.
        trained: parameters of the tower that train.

    Raises:
        ValueError: see `SplitViT`.
    """
    _check_tower(visual)
    depth = len(visual.transformer.resblocks)
    lower = 3 * depth // 4
    taps = [lower * third // 3 for third in (1, 2, 3)]
    return SplitViT(visual, lower=lower, taps=taps, values_from=depth // 6, trained=trained)


def _check_tower(visual: nn.Module) -> None:
    """Refuse a tower that has not what the two parts are made of."""
    reason = ""
    if not isinstance(visual, VisionTransformer):
        reason = "it is no VisionTransformer of open_clip"
    elif visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        reason = "no class token sums up its pictures"
    elif not all(is_plain_block(block) for block in visual.transformer.resblocks):
        reason = "its blocks are not CLIP's own"
    if reason:
        raise ValueError(
            "MODEL.CLIP.NAME: expected a ViT of CLIP with a class token, such as "
            f"ViT-B-16-quickgelu, got {type(visual).__name__} ({reason})."
        )
