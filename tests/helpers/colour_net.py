"""A model that segments by colour names, for tests of what is built around a model."""

import torch
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

import stseg

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


@META_ARCH_REGISTRY.register()
class ColourTestNet(nn.Module):
    """Knows four colours by name: a class scores as its best synonym's nearness."""

    def __init__(self, cfg):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.batches = []

    def forward(self, batch):
        self.batches.append(len(batch))
        return [{"sem_seg": self.scores(item)} for item in batch]

    def scores(self, item):
        image = item["image"].float() / 255
        nearness = []
        for group in item["vocabulary"].synonyms:
            colours = [COLOURS[name] for name in group if name in COLOURS] or [(0, 0, 0)]
            maps = [
                1 - (image - torch.tensor(c)[:, None, None] / 255).abs().mean(0) for c in colours
            ]
            nearness.append(torch.stack(maps).amax(0))
        size = (item["height"], item["width"])
        scores = torch.stack(nearness)[None] * self.scale
        return F.interpolate(scores, size, mode="nearest-exact")[0]


def make_cfg():
    cfg = get_cfg()
    stseg.add_stseg_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "ColourTestNet"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = "random"
    cfg.INPUT.MIN_SIZE_TEST = 0
    return cfg
