"""CLIP's word on parts of a picture: crops in, unit embeddings out.

CLIP here is the image tower as it was trained, asked for one embedding of a square; the model's own
may have been trained on since, and is asked at every cell.

Shapes: N crops, C channels of the embedding, S pixels of the tower's square, h x w of the picture.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.encoders import add_clip_statistics
from stseg.render import labels_at_size
from stseg.self_training.prompts import Part

#: Sides of the boxes that a region is shown in, in units of its own.
SPANS = (1.0, 1.5)
#: Sides of the five crops of a picture, as parts of its own.
_VIEW = 0.5

#: x0, y0, x1, y1; the last two are behind the last pixels.
Box = tuple[int, int, int, int]


class CropEncoder(nn.Module):
    """An image tower of open_clip, frozen, with the pixels that it takes."""

    def __init__(self, visual: nn.Module, *, batch_size: int = 32):
        """Wrap a tower.

        Args:
            visual: images (N, 3, S, S) -> (N, C).
            batch_size: crops per pass.
        """
        super().__init__()
        self.visual = visual.requires_grad_(False).eval()
        size = visual.image_size
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.batch_size = check("SELF_TRAINING.VLM.BATCH_SIZE", batch_size)
        add_clip_statistics(self, visual)

    def views(self, image: Tensor) -> Tensor:
        """A picture (3, h, w), RGB in [0, 255], as six crops: all, its corners, its centre.

        Returns:
            (6, 3, S, S), normalised.
        """
        height, width = image.shape[-2:]
        h, w = (max(1, round(_VIEW * side)) for side in (height, width))
        corners = [(x, y) for y in (0, height - h) for x in (0, width - w)]
        corners.append(((width - w) // 2, (height - h) // 2))
        boxes = [(0, 0, width, height), *((x, y, x + w, y + h) for x, y in corners)]
        return torch.stack([self._crop(image, box) for box in boxes])

    def copies(self, image: Tensor, part: Part, shape: tuple[int, int]) -> Tensor:
        """A region in each of SPANS: alone, on the mean colour of CLIP's pictures, and as it is.

        Args:
            image: (3, h, w), RGB in [0, 255].
            part: the region.
            shape: (H, W) of the map that it is a part of, which shows the same picture.

        Returns:
            (4, 3, S, S), normalised.
        """
        mask = part.full(shape)
        crops = []
        for span in SPANS:
            x0, y0, x1, y1 = box = grown(part.box, span, shape)
            crop = self._crop(image, scaled(box, shape, image.shape[-2:]))
            inside = torch.from_numpy(labels_at_size(mask[y0:y1, x0:x1], self.size))
            crops += [crop * inside.to(crop), crop]  # normalised, the mean is 0
        return torch.stack(crops)

    def _crop(self, image: Tensor, box: Box) -> Tensor:
        x0, y0, x1, y1 = box
        pixels = image[None, :, y0:y1, x0:x1].to(self.pixel_mean)
        crop = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)[0]
        return (crop - self.pixel_mean) / self.pixel_std

    @torch.no_grad()
    def forward(self, crops: Iterable[Tensor]) -> Tensor:
        """Embed crops, `batch_size` in one pass, whatever the groups that they come in.

        Args:
            crops: each (n, 3, S, S), normalised; at least one.

        Returns:
            (N, C) float32, unit length.
        """
        found = []
        for batch in batches((crop for group in crops for crop in group), self.batch_size):
            embeds = self.visual(torch.stack(batch))
            embeds = embeds[0] if isinstance(embeds, tuple) else embeds  # CoCa's has tokens, too
            found.append(F.normalize(embeds.float(), dim=-1))
        return torch.cat(found)


def grown(box: tuple[int, int, int, int], span: float, shape: tuple[int, int]) -> Box:
    """A box of first and last pixels about the same centre with `span` times its sides.

    It is cut at the picture, of `shape` (H, W).
    """
    (x0, y0, x1, y1), (height, width) = box, shape
    dx, dy = (round((span - 1) / 2 * side) for side in (x1 + 1 - x0, y1 + 1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + 1 + dx), min(height, y1 + 1 + dy)


def scaled(box: Box, of: tuple[int, int], to: tuple[int, int]) -> Box:
    """A box of a picture of size (H, W) in the same picture at another; one pixel at least."""
    (x0, x1), (y0, y1) = (
        (start * new // old, -(-end * new // old))
        for start, end, old, new in ((*box[::2], of[1], to[1]), (*box[1::2], of[0], to[0]))
    )
    return x0, y0, x1, y1


def batches(crops: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Lists of `size`, the last one shorter."""
    rest = iter(crops)
    while batch := list(islice(rest, size)):
        yield batch
