"""The two sides of `benchmarks.inference`, ready to be asked: STSeg and a checkout of SED.

Both get the same images and text embeddings, random ones; the towers that make the embeddings stay
in memory but are not used. Weights are random, ours those of the reference where it was run.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.case_settings import Case
from benchmarks.inference_parts import Places, our_parts, sed_parts
from benchmarks.reference_sed import build, text_embeddings


@dataclass
class Side:
    """A model with what the measurement needs to know of it.

    Attributes:
        model: for its parts.
        parts: see `inference_parts`.
        ask: images and number of names -> one answer per image.
        functions: parts that are functions, see `inference_parts.metered`.
    """

    model: nn.Module
    parts: Places
    ask: Callable[[Sequence[dict], int], list[Tensor]]
    functions: Mapping[str, tuple[object, str]] = field(default_factory=dict)


def photos(case: Case) -> list[dict]:
    """Random images as Detectron2's dicts, on the CPU as a loader gives them."""
    height, width = case.photo or (case.image_size, case.image_size)
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(
                0, 256, (3, height, width), generator=generator, dtype=torch.uint8
            ),
            "height": height,
            "width": width,
        }
        for _ in range(case.batch)
    ]


def answer_of(output: dict, kind: str) -> Tensor:
    """Probabilities (T, H, W), or the best class (H, W) of them."""
    probs = output["sem_seg"]
    return probs if kind == "probabilities" else probs.argmax(dim=0)


def make_side(case: Case) -> Side:
    """The side a case asks for, in evaluation mode."""
    return reference_side(case) if case.side == "reference" else our_side(case)


def our_side(case: Case, model: nn.Module | None = None) -> Side:
    """STSeg, or `model` instead of the one that the case's config describes."""
    from stseg.modeling.heads import CostVolume, chunked_decoding, cost_decoder
    from stseg.modeling.layers import ClassContext, FoldedFusion
    from stseg.modeling.text import ClassEmbeddings
    from stseg.structures import Vocabulary

    model = (model or _build(case)).eval()
    channels = model.image_encoder.output_shape()["dense"].channels
    embeds = text_embeddings(case.classes, channels=channels).to(case.device)

    class Known(nn.Module):
        """Embeddings by the number of names. The tower stays, as it would."""

        def __init__(self, tower: nn.Module):
            super().__init__()
            self.tower = tower
            self.register_buffer("embeds", embeds, persistent=False)
            # The same tensor for the same vocabulary, as the text encoder has it.
            self.first = functools.cache(self._first)

        def forward(self, vocabulary: Vocabulary) -> ClassEmbeddings:
            return self.first(len(vocabulary))

        def _first(self, count: int) -> ClassEmbeddings:
            rows = torch.arange(count, device=self.embeds.device)
            return ClassEmbeddings(self.embeds[:count], rows, count)

    model.text_encoder = Known(model.text_encoder)
    if case.survivors:
        cost_decoder.surviving_classes = Survivors(case.survivors)
    if case.compiled:
        for part in (model.image_encoder, model.sam_encoder, model.dea):
            if part is not None:
                part.compile()

    def ask(images: Sequence[dict], count: int) -> list[Tensor]:
        vocabulary = Vocabulary.parse([[f"class {i}"] for i in range(count)])
        inputs = [{**image, "vocabulary": vocabulary} for image in images]
        if case.answer == "labels" and hasattr(model, "label_maps"):
            return [found.labels for found in model.label_maps(inputs)]
        return [answer_of(output, case.answer) for output in model(inputs)]

    functions = {
        "cost volume": (CostVolume, "of_classes"),
        "class attention, sums": (ClassContext, "add"),
        "class attention, answers": (ClassContext, "answer"),
        "fusion": (FoldedFusion, "__call__"),  # and of the last stage in the rest
        "heads": (chunked_decoding, "conv_to_one"),
    }
    return Side(model, our_parts(), ask, functions)


def _build(case: Case) -> nn.Module:
    from stseg.checkpoint.sed import rename
    from stseg.config import setup_cfg
    from stseg.modeling import build_model

    opts = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.SAM.CHECKPOINT", "random"]
    opts += ["MODEL.TEXT.CACHE_DIR", ""]
    opts += ["MODEL.STSEG.IMAGE_SIZE", [case.image_size, case.image_size]]
    topk = case.rejection or int(bool(case.survivors))
    opts += ["MODEL.SEM_SEG_HEAD.REJECTION_TOPK", topk, *case.opts]
    torch.manual_seed(0)
    model = build_model(setup_cfg(case.config_file, opts, device=case.device))
    if case.weights and Path(case.weights).is_file():
        state = torch.load(case.weights, map_location="cpu", mmap=True, weights_only=True)
        found = model.load_state_dict({rename(k): v for k, v in state.items()}, strict=False)
        missing = [k for k in found.missing_keys if not k.startswith(("sam_encoder.", "dea."))]
        if missing or found.unexpected_keys:
            raise RuntimeError(
                f"{case.weights}: expected the weights of SED, got keys {found.unexpected_keys} "
                f"too many and {missing} too few."
            )
    return model


class Survivors:
    """Keeps the first classes, as many as told for each of the stages, image by image."""

    def __init__(self, counts: Sequence[int]):
        self.counts = counts
        self.calls = 0

    def next(self, alive: int) -> int:
        """How many of `alive` classes live on."""
        self.calls += 1
        return min(alive, self.counts[(self.calls - 1) % len(self.counts)])

    def __call__(self, scores: Tensor, topk: int) -> Tensor:
        """In place of our `surviving_classes`."""
        del topk
        return torch.arange(self.next(scores.shape[0]), device=scores.device)


def reference_side(case: Case) -> Side:
    """SED; writes its weights for our side, if they are wanted and not there yet."""
    topk = case.rejection or int(bool(case.survivors))
    model = build(
        Path(case.reference),
        num_classes=case.classes,
        device=case.device,
        train=False,
        seed=0,
        rejection_topk=topk,
    )
    model.clip_resolution = (case.image_size, case.image_size)
    if case.weights and not Path(case.weights).exists():
        torch.save(model.state_dict(), case.weights)
    predictor = model.sem_seg_head.predictor
    if case.survivors:
        chosen = Survivors(case.survivors)

        def keep(mask: Tensor, topK: int = 1) -> Tensor:  # noqa: N803, called by this name
            del topK
            alive = mask.shape[1]
            return torch.arange(alive, device=mask.device) < chosen.next(alive)

        predictor.transformer.get_valid_idx_from_mask = keep
    embeds = predictor.text_features_test

    def ask(images: Sequence[dict], count: int) -> list[Tensor]:
        predictor.text_features_test = embeds[:count]
        return [answer_of(model([image])[0], case.answer) for image in images]

    return Side(model, sed_parts(case.detail), ask)
