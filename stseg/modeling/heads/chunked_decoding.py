"""The cost-aware decoder for any number of classes: in chunks, each part as often as needed.

Class attention is the only part that sees more than one class. Each of its stages asks for sums
over all classes, so the chunks are walked once per stage, and once more to the end. Between two
walks a chunk keeps how far it came while a budget of bytes allows it; a chunk beyond the budget
keeps an earlier, smaller step, or nothing, and is computed again from there. Evaluation only.

Steps of a chunk: 0 the embedded cost volume; then for stage i = 0, 1, 2: 2 i + 1 after the ConvNeXt
block, 2 i + 2 at twice the resolution.

Shapes: n classes of a chunk, T classes in all, h and w cells of the cost volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from stseg.modeling.heads.cost_volume import CostVolume
from stseg.modeling.heads.template_basis import ReducedCostVolume
from stseg.modeling.layers import ClassContext, FoldedFusion

Select = Callable[[Tensor], Tensor]
NOTHING = -1  # the step of a chunk that keeps nothing


@dataclass
class Chunk:
    """Some classes and how far they came.

    Attributes:
        classes: (n,) int64 indices.
        step: which step `x` is; `NOTHING` if nothing is kept.
        x: (n, H, W, C) or None.
        cost: (n, P, h, w) of the cost volume, P or fewer channels, or None.
    """

    classes: Tensor
    step: int = NOTHING
    x: Tensor | None = None
    cost: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes kept, without those of the cost volume."""
        return 0 if self.x is None else self.x.nbytes


class ChunkedDecoding:
    """One image through a `CostAwareDecoder`."""

    def __init__(
        self,
        decoder: nn.Module,
        cost: CostVolume | ReducedCostVolume,
        image: int,
        guidance: Sequence[Tensor],
        class_embeds: Tensor | None,
        *,
        chunk_size: int,
        kept_bytes: int,
    ):
        """Set out.

        Args:
            decoder: the trained `CostAwareDecoder`.
            cost: cost volume of the batch, or what stands in for it.
            image: index in the batch.
            guidance: projected image guidance per stage, (1, G, H, W).
            class_embeds: (T, P, C), only used with text guidance.
            chunk_size: classes n per chunk.
            kept_bytes: what all chunks together may keep.
        """
        self.decoder, self.cost, self.image = decoder, cost, image
        self.class_embeds = class_embeds
        self.kept_bytes = kept_bytes
        self.fusions = [
            FoldedFusion(stage, g) for stage, g in zip(decoder.stages, guidance, strict=True)
        ]
        self.contexts: list[ClassContext] = []
        alive = torch.arange(cost.shape[2], device=cost.device)
        self.chunks = [Chunk(part) for part in alive.split(chunk_size)]
        self.chunk_size = chunk_size
        # Every walk needs the cost volume for the score guidance; kept if there is room for all.
        _, prompts, num_classes, height, width = cost.shape
        largest = decoder.stages[-1].upsample.in_channels * 4 ** (len(decoder.stages) - 1)
        self.keeps_cost = 4 * num_classes * height * width * (prompts + largest) <= kept_bytes

    def run(self, select: Select | None = None) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            select: early rejection: (T', h, w) coarse scores -> indices of those that go on; or
                None to keep all.

        Returns:
            (T', 8h, 8w) logits and (T',) int64, the classes they are of, ascending.
        """
        for i, stage in enumerate(self.decoder.stages):
            if select is not None:
                self._reject(i, select)
            context = ClassContext(
                stage.class_attention,
                num_classes=sum(len(chunk.classes) for chunk in self.chunks),
                pooling=self.decoder.pooling_test,
            )
            for chunk in self.chunks:
                x = self._advanced(chunk, 2 * i + 1)
                context.add(x, self._text(i, chunk))
                self._keep(chunk, 2 * i + 1, x)
            self.contexts.append(context)
        return self._scores(), torch.cat([chunk.classes for chunk in self.chunks])

    def _scores(self) -> Tensor:
        """The last stage's second half and the final head, (T', 8h, 8w)."""
        total, done = sum(len(chunk.classes) for chunk in self.chunks), 0
        last = len(self.contexts) - 1
        scores = None
        for chunk in self.chunks:
            x = self._advanced(chunk, 2 * last + 1)
            guide = self._score_guidance(chunk, last)
            x = self.contexts[last].answer(x, self._text(last, chunk))
            for _, y in self.fusions[last].parts(x, guide):
                part = conv_to_one(y, self.decoder.head)
                if scores is None:
                    scores = part.new_empty(total, *part.shape[1:])
                scores[done : done + len(part)] = part
                done += len(part)
            chunk.step, chunk.x, chunk.cost = NOTHING, None, None
        assert scores is not None  # rejection never takes all
        return scores

    def _reject(self, i: int, select: Select) -> None:
        """Let the coarse scores before stage i decide which classes go on (SED, section 3.3)."""
        scores = []
        for chunk in self.chunks:
            x = self._advanced(chunk, 2 * i)
            scores.append(conv_to_one(x, self.decoder.aux_heads[i]))
            self._keep(chunk, 2 * i, x)
        sizes = [len(chunk.classes) for chunk in self.chunks]
        alive = torch.zeros(sum(sizes), dtype=torch.bool, device=scores[0].device)
        alive[select(torch.cat(scores))] = True
        for chunk, mask in zip(self.chunks, alive.split(sizes), strict=True):
            chunk.classes = chunk.classes[mask]
            chunk.x = None if chunk.x is None else chunk.x[mask]
            chunk.cost = None if chunk.cost is None else chunk.cost[mask]
        self.chunks = _merged(self.chunks, self.chunk_size)

    def _keep(self, chunk: Chunk, step: int, x: Tensor) -> None:
        """Keep the new step if all chunks together may."""
        kept = sum(c.num_bytes for c in self.chunks) - chunk.num_bytes
        if kept + x.nbytes <= self.kept_bytes:
            chunk.step, chunk.x = step, x

    def _advanced(self, chunk: Chunk, step: int) -> Tensor:
        """The chunk at `step`, from what it keeps; it is not changed."""
        x, at = chunk.x, chunk.step
        if x is None:
            x = self.cost.embed(self.decoder.embed, self._cost(chunk), chunk.classes)
            x, at = x.permute(0, 2, 3, 1).contiguous(), 0
        for i in range(at, step):
            if i % 2 == 0:
                x = self.decoder.stages[i // 2].spatial.forward_in_blocks(x)
            else:
                answers = self.contexts[i // 2].answer(x, self._text(i // 2, chunk))
                x = self.fusions[i // 2](answers, self._score_guidance(chunk, i // 2))
        return x

    def _score_guidance(self, chunk: Chunk, stage: int) -> Tensor:
        """(n, S, H, W) of a stage: a chain of its own, from the cost volume on."""
        (up, relu), *others = self.decoder.score_guidance[: stage + 1]
        scores = relu(self.cost.double(up, self._cost(chunk), chunk.classes))
        for project in others:
            scores = project(scores)
        return scores

    def _cost(self, chunk: Chunk) -> Tensor:
        if chunk.cost is not None:
            return chunk.cost
        cost = self.cost.of_classes(self.image, chunk.classes)
        if self.keeps_cost:
            chunk.cost = cost
        return cost

    def _text(self, i: int, chunk: Chunk) -> Tensor | None:
        return self.decoder.project_text(i, self.class_embeds, chunk.classes)


def conv_to_one(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 3x3 convolution with padding 1 to one channel, which libraries are slow at.

    Args:
        x: (n, H, W, C).
        conv: C channels to 1.

    Returns:
        (n, H, W).
    """
    n, height, width, channels = x.shape
    weights = conv.weight.reshape(channels, 9).T.expand(n, -1, -1)
    taps = torch.bmm(weights, x.flatten(1, 2).mT).reshape(n, 3, 3, height, width)
    # Tap (u, v) of cell (y, x) belongs to the output at (y + 1 - u, x + 1 - v).
    # In the weights' own precision: under autocast the taps are rounded.
    padded = conv.weight.new_zeros(n, height + 2, width + 2)
    for u, v in product(range(3), repeat=2):
        padded[:, 2 - u : 2 - u + height, 2 - v : 2 - v + width] += taps[:, u, v]
    return padded[:, 1:-1, 1:-1] + conv.bias


def _merged(chunks: Sequence[Chunk], size: int) -> list[Chunk]:
    """Neighbours at the same step joined, up to `size` classes; empty ones left out."""
    merged: list[Chunk] = []
    for chunk in chunks:
        if not len(chunk.classes):
            continue
        last = merged[-1] if merged else None
        if last and last.step == chunk.step and len(last.classes) + len(chunk.classes) <= size:
            last.classes = torch.cat([last.classes, chunk.classes])
            last.x = None if last.x is None else torch.cat([last.x, chunk.x])
            last.cost = None if last.cost is None else torch.cat([last.cost, chunk.cost])
        else:
            merged.append(chunk)
    return merged
