"""The sides of `benchmarks.ebseg`, ready to be asked, and what they have in common.

All get one file: random weights of ours, and random vectors in the place of text embeddings. Text
towers stay in memory but are not used.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case_settings import Case
from benchmarks.inference_parts import Places
from benchmarks.inference_sides import Side

STRIDE = 4  # scores are compared at every fourth pixel

OUR_PARTS: Places = {
    "SAM": ("sam_encoder",),
    "CLIP lower": ("image_encoder:run_lower",),
    "CLIP upper": ("image_encoder", "image_encoder:ask"),
    "pixel decoder": ("map_fusion", "pixel_decoder"),
    "attention bias": ("mask_decoder.attention_bias", "mask_decoder.attention_bias:hidden"),
    "mask decoder": ("mask_decoder",),
    "class shares": (":logits",),
    "answer": (":best",),
}
PUBLISHED_PARTS: Places = {
    **{label: tuple(f"model.{x}" for x in places) for label, places in OUR_PARTS.items()},
    "CLIP upper": (":upper",),
    "class shares": ("model:logits",),
    "answer": (":answer",),
}
#: Gains of random weights, by our names: queries and what they see differ.
GAINS = {
    "mask_decoder.query_*.weight": 2.0,
    "mask_decoder.layers.*_attention.out_proj.weight": 0.3,
    "mask_decoder.layers.*.ffn.2.weight": 0.5,
    "mask_decoder.attention_bias.scaling.weight": 3.0,
}


@dataclass(eq=False)
class Answer:
    """What a side says of an image.

    Attributes:
        labels: (H, W) best classes; all that is measured.
        scores: what makes (T, H / 4, W / 4) scores at every fourth pixel, afterwards.
    """

    labels: Tensor
    scores: Callable[[], Tensor]


def make_side(case: Case) -> Side:
    """The side a case asks for, in evaluation mode, with the weights of the case's file."""
    if case.side == "reference":
        return reference_side(case)
    model = build(case)
    state = torch.load(case.weights, mmap=True, weights_only=True)
    model.load_state_dict(state["model"])
    vectors = state["vectors"][: case.classes].clone()
    make = published_side if case.side == "published" else our_side
    return make(model.eval(), vectors)


def build(case: Case) -> nn.Module:
    """EBSeg by the case's config, on the CPU."""
    from stseg.config import setup_cfg
    from stseg.modeling import build_model

    opts = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.SAM.CHECKPOINT", "random"]
    opts += ["MODEL.TEXT.CACHE_DIR", "", *case.opts]
    return build_model(setup_cfg(case.config_file, opts, device="cpu"))


def our_side(model: nn.Module, vectors: Tensor) -> Side:
    """EBSeg of stseg: the best class of each pixel, streamed."""
    embeddings, vocabulary = words(vectors)

    def ask(images: Sequence[dict], count: int) -> list[Answer]:
        del count
        (image,) = images
        features = model.encode([image["image"].float()])
        (scores,) = model.score(features, embeddings, vocabulary)
        source = scores.at((image["height"], image["width"]))
        return [Answer(model.best(source).labels, lambda: sampled(source))]

    return Side(model, OUR_PARTS, ask)


def sampled(source) -> Tensor:
    """Scores of a source at every fourth pixel, a row at a time."""
    height, width = source.size
    ids = torch.arange(source.classes)
    rows = [source.take(ids, (y, y + 1), (0, width)) for y in range(0, height, STRIDE)]
    return torch.cat([row[:, :, ::STRIDE] for row in rows], dim=1)


def published_side(model: nn.Module, vectors: Tensor) -> Side:
    """The same model on the published way."""
    from benchmarks.ebseg_published import PublishedWay

    way = PublishedWay(model).eval()
    embeddings, vocabulary = words(vectors)
    seen = torch.tensor(vocabulary.seen)

    def ask(images: Sequence[dict], count: int) -> list[Answer]:
        del count
        return [_of_whole(way(image["image"].float(), embeddings, seen)) for image in images]

    return Side(way, PUBLISHED_PARTS, ask)


def reference_side(case: Case) -> Side:
    """The authors' code; imports nothing that models of ours need."""
    from benchmarks import reference_ebseg

    model = reference_ebseg.build(Path(case.reference), Path(case.weights), case.classes)
    model.dataset_overlap_maps[reference_ebseg.DATASET] = torch.tensor(seen(case.classes)).long()

    def ask(images: Sequence[dict], count: int) -> list[Answer]:
        del count
        meta = {"dataset_name": reference_ebseg.DATASET}
        return [_of_whole(model([image | {"meta": meta}])[0]["sem_seg"]) for image in images]

    return Side(model, reference_ebseg.PARTS, ask)


def _of_whole(scores: Tensor) -> Answer:
    return Answer(scores.argmax(dim=0), lambda: scores[:, ::STRIDE, ::STRIDE])


def seen(count: int) -> tuple[bool, ...]:
    """Every second class had labels in training."""
    return tuple(i % 2 == 0 for i in range(count))


def words(vectors: Tensor):
    """Embeddings and vocabulary of T names, of vectors (T, E)."""
    from stseg.modeling.text import ClassEmbeddings
    from stseg.structures import Vocabulary

    count = len(vectors)
    vocabulary = Vocabulary.parse([[f"class {i}"] for i in range(count)])
    embeddings = ClassEmbeddings(vectors[:, None], torch.arange(count), count)
    return embeddings, replace(vocabulary, seen=seen(count))


@torch.no_grad()
def enliven(model: nn.Module) -> None:
    """Random norms, biases and tables: fresh ones are 1 and 0, which hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        gain = next((g for pattern, g in GAINS.items() if fnmatchcase(name, pattern)), 1.0)
        if name.endswith("clip.logit_scale"):
            weight.fill_(math.log(100))
        elif name.endswith("sampling_offsets.bias"):
            continue  # a ring of points around each cell
        elif weight.ndim == 1:
            weight.copy_(0.2 * noise + name.endswith("weight"))
        elif weight.ndim > 1 and not weight.any():
            weight.copy_(0.02 * noise)
        else:
            weight.mul_(gain)


def common_directions(model: nn.Module, image: Tensor) -> Tensor:
    """(3, E): what the three embeddings of all queries have in common on an image."""
    features = model.encode([image.float()])
    kinds = (features.tensors[f"{kind}_embeds"][0] for kind in ("class", "masked", "frozen"))
    return torch.stack([embeds.mean(0) for embeds in kinds])


def class_vectors(count: int, common: Tensor) -> Tensor:
    """Random unit vectors (T, E) in the place of text embeddings; more names keep the first.

    At right angles to what all queries have in common: with random weights that is most of what
    they say, and one class would win everywhere.
    """
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(count, common.shape[1], generator=generator)
    basis = torch.linalg.qr(common.T).Q
    return F.normalize(vectors - vectors @ basis @ basis.T, dim=-1)


@torch.no_grad()
def write_weights(case: Case, image: Tensor, model: nn.Module | None = None) -> None:
    """Draw what all sides share, for up to `case.classes` names, into `case.weights`."""
    torch.manual_seed(0)
    model = (model or build(case)).eval()
    enliven(model)
    vectors = class_vectors(case.classes, common_directions(model, image))
    torch.save({"model": model.state_dict(), "vectors": vectors}, case.weights)
