"""A ViT that groups its patches in stages, helped by prototypes that it does not learn.

PGSeg (arXiv 2310.19001) on GroupViT's encoder (CVPR 2022).

Shapes: B images, H and W pixels, L = (H / patch) * (W / patch) patches, D channels; stage i gives
S_i groups (64, then 8), which are the tokens of the next.
"""

from collections.abc import Sequence

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from stseg.modeling.encoders.grouping_stage import GroupingStage
from stseg.modeling.encoders.pixel_statistics import add_pixel_statistics
from stseg.modeling.layers import GroupingBlock, ImagePrototypes, TokenMixer


def cell_shares(soft_0: Tensor, soft_1: Tensor) -> Tensor:
    """Shares of a patch in the groups of the second stage, by way of the first.

    Args:
        soft_0: (B, S_0, L), the first stage's map.
        soft_1: (B, S_1, S_0), the second's.

    Returns:
        (B, S_1, L) float32, which sums to 1 over groups.
    """
    with torch.autocast(soft_0.device.type, enabled=False):
        return soft_1.float() @ soft_0.float()


class GroupingTransformer(nn.Module):
    """PGSeg's image encoder.

    Attributes:
        width: channels D.
        patch_size: side of a patch, pixels; an image's sides are multiples of it.
        has_prototypes: whether there are any.
        pixel_mean: (3, 1, 1), of ImageNet, pixels in [0, 255], R G B.
        pixel_std: likewise.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 384,
        depths: Sequence[int] = (6, 3, 3),
        num_heads: int = 6,
        groups: Sequence[int] = (64, 8),
        drop_path: float = 0.1,
        has_prototypes: bool = True,
        hidden: int = 4096,
        rounds: int = 10,
        momentum: float = 0.9,
        moves: bool = True,
    ):
        """Build the encoder; the defaults are the published sizes.

        Args:
            image_size: side in pixels that the table of positions is for, a multiple of the patch.
            patch_size: pixels.
            width: channels D.
            depths: blocks of each stage, and of the part behind the last.
            num_heads: attention heads, a divisor of D.
            groups: of each stage.
            drop_path: rate of stochastic depth in the last block, in [0, 1); 0 in the first, and
                linear between.
            has_prototypes: without them it is GroupViT's.
            hidden: width of the middle of the map of prototypes.
            rounds: see `ImagePrototypes`, as the others that follow.
            momentum: of the buffers.
            moves: whether the buffers follow the images in training.

        Raises:
            ValueError: for sizes that do not fit one another.
        """
        super().__init__()
        _check_sizes(image_size, patch_size, width, depths, num_heads, groups)
        self.width, self.patch_size, self.has_prototypes = width, patch_size, has_prototypes
        self.patch_embed = PatchEmbed(
            image_size, patch_size, embed_dim=width, norm_layer=nn.LayerNorm, strict_img_size=False
        )
        self.positions = nn.Parameter(torch.zeros(1, self.patch_embed.num_patches, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        *staged, last = _blocks(width, num_heads, depths, drop_path)
        self.stages = nn.ModuleList()
        for blocks, count, carried in zip(staged, groups, (0, *groups), strict=False):
            prototypes = None
            if has_prototypes:
                prototypes = ImagePrototypes(
                    count, width, hidden=hidden, rounds=rounds, momentum=momentum, moves=moves
                )
            sizes = {"width": width, "count": count, "num_heads": num_heads, "carried": carried}
            self.stages.append(GroupingStage(blocks, prototypes, **sizes))
        self.last_blocks = last
        self.norm = nn.LayerNorm(width)
        self.apply(_init_block)
        add_pixel_statistics(self, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, 255.0)

    def forward(self, images: Tensor, noise: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Group the patches of images.

        Args:
            images: (B, 3, H, W), normalised, of any size of whole patches.
            noise: (B, S_i, tokens of the stage) of each stage, for the choice of groups in
                training; drawn where not given, not used in evaluation.

        Returns:
            "groups": (B, S, D) of the last stage, normed; with the number i of every stage behind,
            from 0, "soft_": (B, S_i, tokens of the stage) float32, shares that sum to 1 over
            groups; "centres_": (B, S_i, D); where there are any "prototypes_": (B, S_i, D)
            float32, unit length, without gradient.

        Raises:
            ValueError: for a side that is no multiple of the patch.
        """
        tokens, carried = self._embed(images), None
        features = {}
        for i, stage in enumerate(self.stages):
            drawn = None if noise is None else noise[i]
            grouped, prototypes, carried = stage(tokens, carried, drawn)
            features[f"soft_{i}"] = grouped.soft
            features[f"centres_{i}"] = grouped.centres
            if prototypes is not None:
                features[f"prototypes_{i}"] = prototypes
            tokens = grouped.tokens
        features["groups"] = self.norm(self.last_blocks(tokens))
        return features

    def _embed(self, images: Tensor) -> Tensor:
        """(B, L, D), patches with their positions."""
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"images: expected sides that are multiples of {self.patch_size} pixels, the "
                f"patch, got {height} x {width}. Pad or resize the images."
            )
        grid = [height // self.patch_size, width // self.patch_size]
        positions = resample_abs_pos_embed(
            self.positions,
            grid,
            list(self.patch_embed.grid_size),
            num_prefix_tokens=0,
            antialias=False,
            align_corners=False,
        )
        return self.patch_embed(images) + positions


def _blocks(
    width: int, num_heads: int, depths: Sequence[int], drop_path: float
) -> list[nn.Sequential]:
    """The blocks of each stage; stochastic depth grows over all of them."""
    rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
    return [
        nn.Sequential(
            *(
                Block(
                    width,
                    num_heads,
                    qkv_bias=True,
                    drop_path=rates.pop(0),
                    norm_layer=nn.LayerNorm,  # timm's own has another epsilon
                )
                for _ in range(depth)
            )
        )
        for depth in depths
    ]


def _init_block(module: nn.Module) -> None:
    """Weights of the linear layers of blocks and groupings; projectors keep torch's own."""
    if isinstance(module, Block | GroupingBlock | TokenMixer):
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


def _check_sizes(
    image_size: int,
    patch_size: int,
    width: int,
    depths: Sequence[int],
    num_heads: int,
    groups: Sequence[int],
) -> None:
    if image_size % patch_size:
        raise ValueError(
            f"image_size: expected a multiple of the patch of {patch_size} pixels, "
            f"got {image_size}."
        )
    if width % num_heads:
        raise ValueError(f"width: expected a multiple of {num_heads} heads, got {width}.")
    if len(depths) != len(groups) + 1:
        raise ValueError(
            f"depths: expected {len(groups) + 1} numbers of blocks, one for each of the "
            f"{len(groups)} stages of groups and one behind them, got {tuple(depths)}."
        )
