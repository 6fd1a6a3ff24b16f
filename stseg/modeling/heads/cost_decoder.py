"""CAD, the cost-aware decoder (paper, section 2.3): SED's decoder, CVPR 2024, section 3.2.

Shapes: B images, T classes, P prompts per class, C channels, h and w cells of the cost volume.
Inside, (B T) is one axis with the class as the fast part, so that convolutions treat every class
of every image alike.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.heads.chunked_decoding import ChunkedDecoding
from stseg.modeling.heads.cost_volume import CostVolume
from stseg.modeling.heads.template_basis import LatestBasis, ReducedCostVolume, check_rank
from stseg.modeling.layers import UpBlock, run_recomputed

#: Classes decoded at a time: on a CPU, and elsewhere.
CPU_CHUNK, OTHER_CHUNK = 8, 64


def surviving_classes(scores: Tensor, topk: int) -> Tensor:
    """Classes that are among the `topk` best at any cell (SED, section 3.3).

    Args:
        scores: (T, h, w) logits.
        topk: classes kept per cell, at least 1; T or more keeps all.

    Returns:
        (T',) int64 indices in ascending order, never empty.
    """
    best = scores.flatten(1).topk(min(topk, scores.shape[0]), dim=0).indices
    return best.unique()


@SEM_SEG_HEADS_REGISTRY.register()
class CostAwareDecoder(nn.Module):
    """Turns a cost volume and three image feature maps into one score map per class."""

    has_chunks = True  # `forward` takes `in_chunks`

    @configurable
    def __init__(
        self,
        *,
        guidance_in: Sequence[int],
        num_prompts: int = 80,
        hidden_dim: int = 128,
        decoder_dims: Sequence[int] = (64, 32, 16),
        guidance_dims: Sequence[int] = (32, 16, 8),
        text_dim: int = 0,
        text_guidance_dims: Sequence[int] = (0, 0, 0),
        num_heads: int = 4,
        kernel_size: int = 9,
        attention: str = "linear",
        pooling_train: int = 2,
        pooling_test: int = 1,
        rejection_topk: int = 0,
        gradient_checkpointing: bool = False,
        prior_prob: float = 0.0,
        chunk_size: int = 0,
        kept_bytes: int = 1 << 30,
        template_rank: int = 0,
    ):
        """Build the decoder; the defaults are those of the published ConvNeXt models.

        Args:
            guidance_in: channels of the image feature maps, coarsest first (res4, res3, res2).
            num_prompts: templates P per class.
            hidden_dim: channels of the embedded cost volume.
            decoder_dims: channels after each stage, multiples of 16.
            guidance_dims: channels of image guidance and of score guidance, per stage.
            text_dim: width of the text embedding; only needed with text guidance.
            text_guidance_dims: channels of text guidance per stage, 0 for none (published).
            num_heads: heads of class attention.
            kernel_size: width of the depthwise kernels.
            attention: "linear" (published) or "softmax".
            pooling_train: pooling before class attention in training.
            pooling_test: the same in evaluation.
            rejection_topk: category early rejection in evaluation: classes kept per cell and
                stage, 0 to keep all.
            gradient_checkpointing: recompute stages in the backward pass to save memory.
            prior_prob: probability of every class before training, in (0, 1); 0 leaves PyTorch's
                start (published).
            chunk_size: classes decoded at a time in evaluation; 0 chooses by device.
            kept_bytes: what evaluation keeps of all classes between the passes of class
                attention; what does not fit is computed again.
            template_rank: an approximation in evaluation, see `TemplateBasis`: channels in place
                of the P templates; 0 for exact scores.

        Raises:
            ValueError: if `prior_prob` is not in [0, 1), or `template_rank` not in [0, P] or used
                with softmax attention, which is not decoded in chunks.
        """
        super().__init__()
        check("MODEL.SEM_SEG_HEAD.PRIOR_PROB", prior_prob)
        check_rank(template_rank, num_prompts, attention)
        self.embed = nn.Conv2d(num_prompts, hidden_dim, 7, padding=3)
        self.image_guidance = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, g, 3, padding=1), nn.ReLU())
            for c, g in zip(guidance_in, guidance_dims, strict=True)
        )
        self.score_guidance = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(c, g, 2, stride=2), nn.ReLU())
            for c, g in zip([num_prompts, *guidance_dims[:-1]], guidance_dims, strict=True)
        )
        self.text_guidance = nn.ModuleList(
            nn.Sequential(nn.Linear(text_dim, g), nn.ReLU()) for g in text_guidance_dims if g
        )
        dims = [hidden_dim, *decoder_dims]
        self.stages = nn.ModuleList(
            UpBlock(
                c_in,
                c_out,
                image_guidance_dim=g,
                score_guidance_dim=g,
                text_guidance_dim=t,
                num_heads=num_heads,
                kernel_size=kernel_size,
                attention=attention,
            )
            for c_in, c_out, g, t in zip(
                dims[:-1], dims[1:], guidance_dims, text_guidance_dims, strict=True
            )
        )
        self.aux_heads = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in dims[:-1])
        self.head = nn.Conv2d(dims[-1], 1, 3, padding=1)
        self.pooling_train, self.pooling_test = pooling_train, pooling_test
        self.attention, self.chunk_size, self.kept_bytes = attention, chunk_size, kept_bytes
        self.rejection_topk = rejection_topk
        self.latest_basis = LatestBasis(template_rank) if template_rank else None
        self.gradient_checkpointing = gradient_checkpointing
        if prior_prob:
            for head in (*self.aux_heads, self.head):
                nn.init.constant_(head.bias, math.log(prior_prob / (1 - prior_prob)))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Read `MODEL.SEM_SEG_HEAD.*`; the image encoder's shapes, and "cost" of P channels."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "guidance_in": [input_shape[name].channels for name in ("res4", "res3", "res2")],
            "num_prompts": input_shape["cost"].channels,
            "hidden_dim": head.HIDDEN_DIM,
            "decoder_dims": head.DECODER_DIMS,
            "guidance_dims": head.GUIDANCE_DIMS,
            "text_dim": input_shape["dense"].channels,
            "text_guidance_dims": head.TEXT_GUIDANCE_DIMS,
            "num_heads": head.NUM_HEADS,
            "kernel_size": head.KERNEL_SIZE,
            "attention": head.ATTENTION,
            "pooling_train": head.POOLING_SIZE_TRAIN,
            "pooling_test": head.POOLING_SIZE_TEST,
            "rejection_topk": head.REJECTION_TOPK,
            "chunk_size": head.CHUNK_SIZE,
            "kept_bytes": head.KEPT_MIB << 20,
            "template_rank": head.TEMPLATE_RANK,
            "gradient_checkpointing": head.GRADIENT_CHECKPOINTING,
            "prior_prob": head.PRIOR_PROB,
        }

    def forward(
        self,
        cost: Tensor | CostVolume,
        guidance: Sequence[Tensor],
        class_embeds: Tensor | None = None,
        *,
        in_chunks: bool = False,
    ) -> list[Tensor]:
        """Score every class at every cell.

        Args:
            cost: (B, P, T, h, w) cost volume, or its factors.
            guidance: image feature maps at 2, 4 and 8 times (h, w), (B, C_i, ., .); other sizes
                are resized. Published models pass them detached.
            class_embeds: (T, P, C), only used with text guidance.
            in_chunks: for evaluation, without gradients: in chunks of classes, so that the whole
                cost volume is never held. Softmax attention has no such way, and goes whole.

        Returns:
            Logits `[final (B, T, 8h, 8w), coarse (B, T, h, w), (B, T, 2h, 2w), (B, T, 4h, 4w)]`.
            `in_chunks` gives `[final]` alone, and so does early rejection in evaluation, with
            rejected classes at -inf.
        """
        if cost.shape[1] != self.embed.in_channels:
            raise ValueError(
                f"cost: expected {self.embed.in_channels} prompts per class, as many as "
                f"MODEL.TEXT.TEMPLATES had when it was built, got {cost.shape[1]}."
            )
        if in_chunks and isinstance(cost, CostVolume) and self.attention == "linear":
            return [self._decode_in_chunks(cost, guidance, class_embeds)]
        whole = cost.whole() if isinstance(cost, CostVolume) else cost
        if self.rejection_topk and not self.training:
            images = [
                self._decode(whole[i : i + 1], [g[i : i + 1] for g in guidance], class_embeds)[0]
                for i in range(whole.shape[0])
            ]
            return [torch.cat(images)]
        return self._decode(whole, guidance, class_embeds)

    @torch.no_grad()
    # Its loops follow the number of classes: traced, each vocabulary would be compiled anew.
    @torch._dynamo.disable
    def _decode_in_chunks(
        self, cost: CostVolume, guidance: Sequence[Tensor], class_embeds: Tensor | None
    ) -> Tensor:
        batch, _, num_classes, height, width = cost.shape
        projected = [
            self._project_guidance(i, feats, (2 * height << i, 2 * width << i))
            for i, feats in enumerate(guidance)
        ]
        default_chunk = CPU_CHUNK if cost.device.type == "cpu" else OTHER_CHUNK
        select = None
        if self.rejection_topk:
            select = partial(surviving_classes, topk=self.rejection_topk)
        scored: CostVolume | ReducedCostVolume = cost
        if self.latest_basis is not None:
            scored = ReducedCostVolume(self.latest_basis.of(cost.class_embeds), cost)
        images = []
        for i in range(batch):
            decoding = ChunkedDecoding(
                self,
                scored,
                i,
                [g[i : i + 1] for g in projected],
                class_embeds,
                chunk_size=self.chunk_size or default_chunk,
                kept_bytes=self.kept_bytes,
            )
            scores, alive = decoding.run(select)
            if len(alive) < num_classes:
                full = scores.new_full((num_classes, *scores.shape[1:]), -torch.inf)
                scores = full.index_copy_(0, alive, scores)
            images.append(scores)
        return images[0][None] if batch == 1 else torch.stack(images)

    def _decode(
        self, cost: Tensor, guidance: Sequence[Tensor], class_embeds: Tensor | None
    ) -> list[Tensor]:
        batch, _, num_classes = cost.shape[:3]
        topk = 0 if self.training else self.rejection_topk
        pooling = self.pooling_train if self.training else self.pooling_test
        alive = torch.arange(num_classes, device=cost.device)
        scores = cost.transpose(1, 2).flatten(0, 1)  # (B T, P, h, w)
        x = self.embed(scores)
        coarse = []
        for i, stage in enumerate(self.stages):
            # The coarse heads learn from, but do not shape, what they look at (published).
            coarse.append(self.aux_heads[i](x.detach()).reshape(batch, -1, *x.shape[-2:]))
            if topk:
                keep = surviving_classes(coarse[-1][0], topk)
                x, scores, alive = x[keep], scores[keep], alive[keep]
            scores = self.score_guidance[i](scores)
            image = self._project_guidance(i, guidance[i], scores.shape[-2:])
            text = self.project_text(i, class_embeds, alive)
            text = None if text is None else text[None].expand(batch, -1, -1)
            x = self._run_stage(stage, x, image, scores, pooling, text)
        final = self.head(x).reshape(batch, -1, *x.shape[-2:])
        if topk:
            full = final.new_full((batch, num_classes, *final.shape[-2:]), -torch.inf)
            return [full.index_copy(1, alive, final)]
        return [final, *coarse]

    def _project_guidance(self, i: int, feats: Tensor, size: Sequence[int]) -> Tensor:
        y = self.image_guidance[i](feats)
        if y.shape[-2:] != tuple(size):
            y = F.interpolate(y, size=tuple(size), mode="bilinear", align_corners=False)
        return y

    def project_text(self, i: int, class_embeds: Tensor | None, classes: Tensor) -> Tensor | None:
        """Text guidance of stage i, (n, G), for some classes; None where it is off."""
        if not len(self.text_guidance):
            return None
        if class_embeds is None:
            raise ValueError(
                "class_embeds: expected a (T, P, C) tensor with text guidance on, got None."
            )
        mean = F.normalize(class_embeds[classes].mean(dim=1), dim=-1)
        return self.text_guidance[i](mean)

    def _run_stage(
        self,
        stage: UpBlock,
        x: Tensor,
        image: Tensor,
        scores: Tensor,
        pooling: int,
        text: Tensor | None,
    ) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return run_recomputed(stage, x, image, scores, pooling=pooling, text_guidance=text)
        return stage(x, image, scores, pooling=pooling, text_guidance=text)
