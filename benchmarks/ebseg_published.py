"""The way published EBSeg takes to its answer (CVPR 2024), gone with our modules and weights.

What it computes and nobody reads is computed here, too: all rounds of the decoder, of which
evaluation uses the last, each with its attention bias at the size of the masks; the last layer of
the bias' MLP as a map of heads x C channels; CLIP's upper blocks once per round, with queries,
class token and patches in one sequence, both streams; masks at full size, and of them the whole
answer, all classes at all pixels. Both encoders, the pixel decoder and the decoder's layers are
ours, which are faster than theirs, and the class logits of unread rounds are left out: the way
itself costs more than this.

Shapes: B images, Q queries, L patches, H heads, h x w cells of the masks.
"""

from collections.abc import Sequence

import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.encoders.value_stream import Streams, project_tokens
from stseg.modeling.heads import frozen_embeddings
from stseg.modeling.layers import (
    AttentionBias,
    add_attention,
    finish_block,
    join_heads,
    project_heads,
)
from stseg.modeling.meta_arch.ebseg import MULTIPLE
from stseg.modeling.meta_arch.normalised import normalised_batch, rescaled
from stseg.modeling.text import ClassEmbeddings

HIDDEN = -100.0  # bias where one token must not see another, as published


class FullWidthBias(nn.Module):
    """`AttentionBias` without folding its last layer into the queries."""

    def __init__(self, own: AttentionBias):
        """Take the weights of ours."""
        super().__init__()
        self.own = own

    def hidden(self, mask_features: Tensor) -> Tensor:
        """F (B, H, C, h w), the whole MLP."""
        maps = self.own.mlp(mask_features.flatten(2).transpose(1, 2)).transpose(1, 2)
        return maps.contiguous().unflatten(1, (self.own.num_heads, -1))

    def forward(self, mask_embeds: Tensor, hidden: Tensor, size, pooled_size=None) -> Tensor:
        """(B, H, Q, h, w), never pooled."""
        del pooled_size
        products = torch.matmul(mask_embeds[:, None], hidden)
        return self.own.scaling(products[..., None])[..., 0].unflatten(-1, size)


class PublishedWay(nn.Module):
    """An EBSeg of ours that is asked as the published one answers; one image at a time."""

    def __init__(self, model: nn.Module):
        """Take the parts of `model`, whose attention bias is replaced."""
        super().__init__()
        self.model = model
        decoder = model.mask_decoder
        decoder.attention_bias = FullWidthBias(decoder.attention_bias)

    def forward(self, image: Tensor, embeddings: ClassEmbeddings, seen: Tensor) -> Tensor:
        """Scores (T, H, W) of an image (3, H, W)."""
        model = self.model
        with model._precision():
            features, padded = self.encode(image)
            masks, shares = model.logits(features, embeddings, seen)
        return self.answer(masks.float(), shares[0], padded, image.shape[-2:])

    def encode(self, image: Tensor) -> tuple[dict[str, Tensor], tuple[int, int]]:
        """What `EBSeg.logits` asks for, and the size of the padded image."""
        model = self.model
        clip, sam = model.image_encoder, model.sam_encoder
        small = normalised_batch([image], clip.pixel_mean, clip.pixel_std, MULTIPLE)
        large = normalised_batch([image], sam.pixel_mean, sam.pixel_std, MULTIPLE)
        streams, grid, taps = clip.run_lower(rescaled(small, model.clip_scale), dense=True)
        maps = model.map_fusion(sam(large), [taps[f"block_{n}"] for n in clip.taps])
        rounds = model.mask_decoder(*model.pixel_decoder(maps), every_round=True)
        for found in rounds:
            masked, dense = self.upper(streams, grid, found.attention_bias)
        last = rounds[-1]
        features = {
            "mask_logits": last.mask_logits,
            "class_embeds": last.class_embeds,
            "masked_embeds": masked,
            "frozen_embeds": frozen_embeddings(dense, last.mask_logits),
        }
        return features, (large.shape[-2], large.shape[-1])

    def upper(self, streams: Streams, grid: tuple[int, int], bias: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's upper blocks: (B, Q, E) of the queries, and the dense map (B, E, ., .)."""
        clip, queries = self.model.image_encoder, bias.shape[2]
        pooled = F.adaptive_max_pool2d(bias.flatten(1, 2), grid).unflatten(1, bias.shape[1:3])
        mask = attention_mask(pooled.flatten(3))
        tokens, values = (
            torch.cat([x[:, :1].expand(-1, queries, -1), x], dim=1)
            for x in (streams.tokens, streams.values)
        )
        for block in clip.visual.transformer.resblocks[clip.lower_depth :]:
            q, k, v = project_heads(block, tokens)
            values = add_attention(block, values, join_heads(attend(v, v, v, mask)))
            tokens = finish_block(block, tokens, join_heads(attend(q, k, v, mask)))
        cells = project_tokens(clip.visual, values[:, queries + 1 :])
        dense = cells.transpose(1, 2).unflatten(2, grid)
        return project_tokens(clip.visual, tokens[:, :queries]), dense

    def answer(
        self, masks: Tensor, shares: Tensor, padded: tuple[int, int], size: Sequence[int]
    ) -> Tensor:
        """All classes at all pixels, from mask logits (1, Q, h, w) and shares (Q, T)."""
        masks = F.interpolate(masks, padded, mode="bilinear", align_corners=False)[0]
        masks = sem_seg_postprocess(masks, size, size[0], size[1])
        return torch.einsum("qt,qhw->thw", shares.float(), masks.sigmoid())


def attention_mask(bias: Tensor) -> Tensor:
    """Who sees whom (B, H, S, S), S = Q + 1 + L, of the bias (B, H, Q, L) towards patches.

    A query sees itself and patches; class token and patches see all but queries.
    """
    queries, size = bias.shape[2], bias.shape[2] + 1 + bias.shape[3]
    mask = bias.new_zeros(size, size)
    mask[:, :queries] = HIDDEN
    mask[:queries, queries] = HIDDEN
    mask.diagonal()[:queries] = 0
    mask = mask.expand(*bias.shape[:2], -1, -1).clone()
    mask[:, :, :queries, queries + 1 :] = bias
    return mask


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention in plain products, as published."""
    return ((q @ k.mT) * q.shape[-1] ** -0.5 + mask).softmax(-1).to(v.dtype) @ v
