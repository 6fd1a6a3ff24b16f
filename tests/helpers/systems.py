"""Three systems that are meant to be hard on the contract, each of a few dozen lines.

`QueryFake` answers with masks and class shares of queries, as EBSeg: sums above 1, padding that is
cropped, masks that are resized twice, marks of seen classes, one trained tensor in a frozen
encoder. `CaptionFake` learns from captions as well, as PGSeg: a text tower that trains, BatchNorm,
a buffer that moves in training only, one class without words. `WindowFake` is asked by windows, as
CAT-Seg: on a stretched canvas, bent after resizing, each window leaving out classes on its own.
"""

import zlib

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torch.nn import functional as F

from stseg.modeling.meta_arch import Features, OpenVocabSegmentor
from stseg.modeling.scores import CellScores, QueryScores, Tiles, pad_to_batch
from stseg.modeling.text import ClassEmbeddings
from stseg.structures import IGNORE_LABEL, Vocabulary

WIDTH, QUERIES = 8, 6


class Words(nn.Module):
    """A vector of each name by its letters, made unit by a layer that may train."""

    def __init__(self, trains=False):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH).requires_grad_(trains)

    def forward(self, vocabulary):
        groups = [g for i, g in enumerate(vocabulary.synonyms) if i != vocabulary.rest]
        rows = [self.letters(name) for group in groups for name in group]
        index = [i for i, group in enumerate(groups) for _ in group]
        device = self.layer.weight.device
        embeds = F.normalize(self.layer(torch.stack(rows).to(device)), dim=-1)[:, None]
        return ClassEmbeddings(embeds, torch.tensor(index, device=device), len(groups))

    @staticmethod
    def letters(name):
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return torch.randn(WIDTH, generator=generator)


def pixel_loss(scores, target):
    """Scores (B, T, h, w) in [0, 1] against labels, 0 where nothing is labelled."""
    scores = F.interpolate(scores, target.shape[-2:], mode="bilinear")
    known = target != IGNORE_LABEL
    chosen = scores.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return {"loss_fake": (known * -(chosen.clamp(1e-4).log())).sum() / known.sum().clamp(min=1)}


class Fake(OpenVocabSegmentor):
    """What the three share: a picture is a tenth of its pixels, convolved."""

    trains_text, image_size, tiles_of_it = False, (32, 32), None

    @configurable
    def __init__(self):
        super().__init__(text_encoder=Words(self.trains_text), criterion=None,
                         image_size=self.image_size, tiles=self.tiles_of_it)  # fmt: skip
        self.image_encoder = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1)

    @classmethod
    def from_config(cls, cfg):
        return {}


# --- queries ---


@META_ARCH_REGISTRY.register()
class QueryFake(Fake):
    asks_seen = True

    def __init__(self, cfg=None):
        super().__init__()
        self.image_encoder.weight.requires_grad_(False)  # its bias learns
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))

    def encode(self, images):
        sizes = tuple((x.shape[-2], x.shape[-1]) for x in images)
        batch = pad_to_batch([x / 255 - 0.5 for x in images], 0.0)  # zeros after normalising
        height, width = (-side % 32 for side in batch.shape[-2:])
        return Features({"dense": self.image_encoder(F.pad(batch, (0, width, 0, height)))}, sizes)

    def logits(self, features, embeddings, seen=None):
        masks = torch.einsum("qc,bchw->bqhw", self.queries, features["dense"])
        shares = (8 * self.queries @ embeddings.mean_over_synonyms().embeds[:, 0].T).softmax(-1)
        return masks, shares if seen is None else shares ** torch.where(seen, 1.0, 0.5)

    def score(self, features, embeddings, vocabulary):
        masks, shares = self.logits(features.tensors, embeddings, self.seen_marks(vocabulary))
        padded = tuple(2 * side for side in masks.shape[-2:])
        return [
            QueryScores(m, shares, padded, s) for m, s in zip(masks, features.sizes, strict=True)
        ]

    def losses(self, features, batch):
        words, marks = self.embed(batch.vocabulary), self.seen_marks(batch.vocabulary)
        masks, shares = self.logits(features.tensors, words, marks)
        scores = torch.einsum("qt,bqhw->bthw", shares, masks.sigmoid()) / QUERIES
        padded = [2 * side for side in scores.shape[-2:]]
        height, width = batch.sem_seg.shape[-2:]
        return pixel_loss(F.interpolate(scores, padded)[..., :height, :width], batch.sem_seg)


# --- captions ---


class WithRest:
    """Scores of the classes with words, and in its place one class that wins below a level."""

    def __init__(self, source, rest, level):
        self.source, self.rest, self.level = source, rest, level
        self.size, self.grain, self.device = source.size, source.grain, source.device
        self.classes = source.classes + 1

    def bounds(self, rows, cols):
        return tuple(self._with(x, 1) for x in self.source.bounds(rows, cols))

    def take(self, ids, rows, cols):
        own = self.source.take(torch.arange(self.classes - 1), rows, cols)
        return self._with(own, 0)[ids]

    def _with(self, scores, dim):
        before, after = scores.split([self.rest, scores.shape[dim] - self.rest], dim)
        level = torch.full_like(scores.narrow(dim, 0, 1), self.level)
        return torch.cat([before, level, after], dim)

    def scale(self, rows, cols):
        return None

    def below(self, row):
        return WithRest(self.source.below(row), self.rest, self.level)


class RestScores:
    def __init__(self, scores, rest, level):
        self.scores, self.rest, self.level = scores, rest, level

    def at(self, size):
        return WithRest(self.scores.at(size), self.rest, self.level)


@META_ARCH_REGISTRY.register()
class CaptionFake(Fake):
    trains_text = True

    def __init__(self, cfg=None):
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH)
        self.register_buffer("prototypes", torch.eye(WIDTH))
        self.level = 0.4

    def extract(self, images):
        dense = self.norm(self.image_encoder(images / 255 - 0.5))
        if self.training:
            with torch.no_grad():
                self.prototypes.lerp_(dense.mean((0, 2, 3)).expand_as(self.prototypes), 0.1)
        return {"dense": torch.einsum("pc,bchw->bphw", self.prototypes, dense)}

    def logits(self, features, embeddings, seen=None):
        dense = F.normalize(features["dense"], dim=1)
        cosine = torch.einsum("sc,bchw->bshw", embeddings.embeds[:, 0], dense)
        return (embeddings.class_scores(4 * cosine),)

    def score(self, features, embeddings, vocabulary):
        found = super().score(features, embeddings, vocabulary)
        if vocabulary.rest is None:
            return found
        return [RestScores(scores, vocabulary.rest, self.level) for scores in found]

    def losses(self, features, batch):
        losses = {}
        captions = [x["caption"] for x in batch.items if "caption" in x]
        if captions:
            words = self.embed(Vocabulary.parse([[caption] for caption in captions]))
            said = self.logits(features.tensors, words)[0].mean((2, 3))
            losses["loss_caption"] = F.cross_entropy(said, torch.arange(len(captions)))
        if batch.words is None:
            return losses
        (logits,) = self.logits(features.tensors, self.embed(batch.vocabulary))
        losses.setdefault("loss_caption", 0 * logits.sum())
        if batch.sem_seg is None:
            return losses
        scores = logits.sigmoid()
        if batch.vocabulary.rest is not None:
            own, level = batch.vocabulary.rest, torch.full_like(scores[:, :1], self.level)
            scores = torch.cat([scores[:, :own], level, scores[:, own:]], 1)
        return losses | pixel_loss(scores, batch.sem_seg)


# --- windows ---


class Kept:
    """Some classes of a source, bent; the others are at 0."""

    def __init__(self, source, kept):
        self.source, self.kept = source, kept  # (T,) bool
        self.size, self.grain, self.device = source.size, source.grain, source.device
        self.classes = source.classes

    def bounds(self, rows, cols):
        return tuple(x.sigmoid() * self.kept for x in self.source.bounds(rows, cols))

    def take(self, ids, rows, cols):
        return self.source.take(ids, rows, cols).sigmoid() * self.kept[ids][:, None, None]

    def scale(self, rows, cols):
        return None

    def below(self, row):
        return Kept(self.source.below(row), self.kept)


class KeptScores:
    def __init__(self, logits, kept):
        self.logits, self.kept = logits, kept

    def at(self, size):
        return Kept(CellScores(self.logits, None).at(size), self.kept)


@META_ARCH_REGISTRY.register()
class WindowFake(Fake):
    image_size = (24, 24)
    tiles_of_it = Tiles((24, 24), 1 / 3, canvas=(40, 40))
    most = 3

    def __init__(self, cfg=None):
        super().__init__()

    def extract(self, images):
        return {"dense": self.image_encoder(images / 255 - 0.5)}

    def logits(self, features, embeddings, seen=None):
        dense = F.normalize(features["dense"], dim=1)
        cosine = torch.einsum("sc,bchw->bshw", embeddings.embeds[:, 0], dense)
        return (embeddings.class_scores(4 * cosine - 1),)

    def score(self, features, embeddings, vocabulary):
        answers = []
        for logits in self.logits(features.tensors, embeddings)[0]:
            best = logits.flatten(1).amax(1).topk(min(self.most, len(logits))).indices
            answers.append(KeptScores(logits, torch.zeros(len(logits)).index_fill(0, best, 1.0)))
        return answers

    def losses(self, features, batch):
        (logits,) = self.logits(features.tensors, self.embed(batch.vocabulary))
        return pixel_loss(logits.sigmoid(), batch.sem_seg)
