"""A model and a loader as another Detectron2 project may have them; nothing of them is ours."""

from itertools import count

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from tests.helpers.colour_net import COLOURS


class NearestColour(nn.Module):
    """Detectron2's semantic segmentation interface, and nothing of ours."""

    def __init__(self, cfg=None):
        super().__init__()
        self.colours = nn.Parameter(torch.tensor(list(COLOURS.values())) / 255.0)
        self.sharpness = nn.Parameter(torch.tensor(8.0))

    def logits(self, item):
        distance = item["image"].float()[None] / 255 - self.colours[:, :, None, None]
        return self.sharpness * (0.5 - distance.abs().mean(dim=1))

    def forward(self, batch):
        if not self.training:
            return [{"sem_seg": self.resized(item).sigmoid()} for item in batch]
        losses = [self.loss(self.logits(item), item["sem_seg"]) for item in batch]
        return {"loss": torch.stack(losses).mean()}

    def loss(self, logits, label):
        return F.cross_entropy(logits[None], label[None], ignore_index=255)

    def resized(self, item):
        size = item["height"], item["width"]
        return F.interpolate(self.logits(item)[None], size, mode="bilinear")[0]


def read(path):
    return torch.from_numpy(np.array(Image.open(path)))


def items(records):
    """The project's own way to read an image for testing."""
    for record in records:
        image = read(record["file_name"]).permute(2, 0, 1)
        height, width = image.shape[1:]
        yield {"image": image, "file_name": record["file_name"], "height": height, "width": width}


class Batches:
    """The project's own loader: two images after the other, for ever."""

    def __init__(self, start_iter, records, weights=None):
        self.start, self.records = start_iter, records

    def __iter__(self):
        for k in count(self.start):
            pair = [self.records[(2 * k + i) % len(self.records)] for i in range(2)]
            labels = [{"sem_seg": read(r["sem_seg_file_name"]).long()} for r in pair]
            yield [{**x, **y} for x, y in zip(items(pair), labels, strict=True)]
