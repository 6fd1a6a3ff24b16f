"""Many prompts on one image embedding through SAM's stock prompt encoder and mask decoder.

Shapes: N prompts, M of them in a chunk, C channels, n x n cells of the embedding, low = 4 n cells
of SAM's mask frame.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompt:
    """One question to SAM, in SAM's pixels; what is None is not asked with.

    Attributes:
        points: (P, 2) float32.
        labels: (P,), 1 inside and 0 outside.
        box: (4,) float32, two corners.
        mask: (low, low) float32 logits.
    """

    points: np.ndarray | None = None
    labels: tuple[int, ...] = ()
    box: np.ndarray | None = None
    mask: np.ndarray | None = None


def decode(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embedding: Tensor,
    prompts: Sequence[Prompt],
    batch_size: int,
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Answer prompts, all three masks of SAM each.

    A chunk holds prompts of one structure. Filling up shorter ones with SAM's "not a point" would
    change their answers, since the decoder attends to it.

    Args:
        prompt_encoder: made for the embedding's size, in float32 (SAM's positions need it).
        mask_decoder: of any float type, on the same device.
        embedding: (1, C, n, n), any float type.
        prompts: N.
        batch_size: prompts in a chunk at most. 0 chooses: 1 on the CPU, whose caches hold the
            image's tokens of one prompt but not of many (chunks of 8 take 1.6 times as long at
            SAM's real size), 16 elsewhere.

    Yields:
        Per chunk: the indices of its M prompts, logits (M, 3, low, low) and predicted IoUs (M, 3),
        float32. Run it under `torch.inference_mode()`.
    """
    dtype, device = mask_decoder.iou_token.weight.dtype, mask_decoder.iou_token.weight.device
    embedding = embedding.to(device, dtype)
    positions = prompt_encoder.get_dense_pe().to(device, dtype)
    batch_size = batch_size or (1 if device.type == "cpu" else 16)
    alike = defaultdict(list)
    for index, prompt in enumerate(prompts):
        structure = len(prompt.labels), prompt.box is None, prompt.mask is None
        alike[structure].append(index)
    for group in alike.values():
        for start in range(0, len(group), batch_size):
            indices = group[start : start + batch_size]
            sparse, dense = _encode(prompt_encoder, [prompts[i] for i in indices])
            logits, ious = mask_decoder(
                image_embeddings=embedding,
                image_pe=positions,
                sparse_prompt_embeddings=sparse.to(device, dtype),
                dense_prompt_embeddings=dense.to(device, dtype),
                multimask_output=True,
            )
            yield indices, logits.float(), ious.float()


def best_of(logits: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
    """Of each prompt's masks (M, 3, low, low) the one of the best predicted IoU, and that IoU."""
    rows = torch.arange(len(ious), device=ious.device)
    best = ious.argmax(1)
    return logits[rows, best], ious[rows, best]


def _encode(encoder: PromptEncoder, chunk: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """Sparse (M, tokens, C) and dense (M, C, n, n) embeddings of prompts of one structure."""
    weight = encoder.no_mask_embed.weight

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(weight.device, weight.dtype)

    points = boxes = masks = None
    if chunk[0].points is not None:
        labels = torch.tensor([prompt.labels for prompt in chunk], device=weight.device)
        points = stacked([prompt.points for prompt in chunk]), labels
    if chunk[0].box is not None:
        boxes = stacked([prompt.box for prompt in chunk])
    if chunk[0].mask is not None:
        masks = stacked([prompt.mask for prompt in chunk])[:, None]
    return encoder(points=points, boxes=boxes, masks=masks)
