"""Pseudo-labels of a whole data set: the model and SAM on one side, files on the other."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, astuple
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn
from tqdm import tqdm

from stseg.checkpoint import AnswersDigest, weights_digest
from stseg.data import read_image
from stseg.modeling.meta_arch import OpenVocabSegmentor
from stseg.modeling.scores import label_maps
from stseg.self_training.corrections import corrected
from stseg.self_training.label_changes import count_changes
from stseg.self_training.labeler import Labeler, SamBranch, own_sam_encoder
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.self_training.sam_features import SamFeatures
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.store_counts import share_of
from stseg.self_training.store_key import LABELLING_VERSION, StoreKey, image_digests
from stseg.self_training.survey import Survey
from stseg.self_training.target import Target
from stseg.utils import kept_random_state, phase

logger = logging.getLogger(__name__)

#: From records to inputs of the model in evaluation mode, one for each, in order: "image" (3, h,
#: w), "file_name", "height" and "width" of the answer, and whatever else the model asks for.
Items = Callable[[Sequence[dict[str, Any]]], Iterable[dict[str, Any]]]


class DatasetLabeler:
    """Labels the images of a target, round after round. The same object on all ranks."""

    def __init__(
        self,
        *,
        target: Target,
        labeler: Labeler,
        items: Items,
        settings: Mapping[str, Any] | None = None,
        max_side: int = 1024,
        quantile: float = 0.0,
        refine_file: bool = False,
        features: SamFeatures | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            target: images and names.
            labeler: of one image.
            items: gives the model inputs of records, see `Items`.
            settings: all that decides the labels beside weights, names and images, as JSON can hold
                it: a folder of labels is used again where it is the same. None takes it from the
                other arguments, and knows nothing of how `items` reads an image.
            max_side: longest side in pixels at which labels are made.
            quantile: above 0 a class may pass at this quantile of its scores over all images; a
                labeler's own comes first.
            refine_file: show SAM the file's own pixels; else "image" of an input must be RGB.
            features: keeps SAM's embeddings.
        """
        self.target, self.labeler, self.items = target, labeler, items
        quantile = quantile if labeler.quantile is None else labeler.quantile
        self._max_side, self._quantile, self._refine_file = max_side, quantile, refine_file
        self._features, self._answers = features, AnswersDigest()
        self._digests: tuple[str, ...] | None = None
        self._stores: dict[tuple[Path, int, str], PseudoLabelStore] = {}
        self.settings = settings or _settings_of(labeler, max_side, quantile, refine_file)

    def digest(self, model: nn.Module) -> str:
        """Of all weights that a model's answers depend on; its frozen ones are read once."""
        return self._answers.of(model)

    def store(self, root: str | PathLike[str], round_number: int, weights: str) -> PseudoLabelStore:
        """The folder of a round, not opened yet; all ranks together, and the same object again.

        Args:
            root: holds the folders of all rounds.
            round_number: from 1.
            weights: digest of the weights that label.
        """
        asked = (Path(root), round_number, weights)
        if asked not in self._stores:
            settings = dict(self.settings)
            if self.target.corrections:  # without any, folders of earlier versions serve on
                settings["corrected"] = [astuple(part) for part in self.target.corrections]
            key = StoreKey(
                weights=weights,
                vocabulary=self.target.vocabulary.key,
                settings=settings,
                images=tuple(Path(record["file_name"]) for record in self.target.records),
                image_digests=self._image_digests(),
            )
            store = PseudoLabelStore(Path(root), round_number, key, self.target.vocabulary.names)
            # Those of rounds long past are not asked for again.
            kept = {k: v for k, v in self._stores.items() if k[1] >= round_number - 1}
            self._stores = {**kept, asked: store}
        return self._stores[asked]

    def _image_digests(self) -> tuple[str, ...]:
        """Of all images, each of which one rank reads, once in a run."""
        if self._digests is None:
            with phase("image digests"):
                mine = share_of(len(self.target.records), *_place())
                found = image_digests(self.target.records[i]["file_name"] for i in mine)
                self._digests = tuple(chain.from_iterable(comm.all_gather(found)))
        return self._digests

    @phase("pseudo-labels")
    def fill(self, store: PseudoLabelStore, model: nn.Module, pictured: Sequence[int]) -> None:
        """Make what is missing in a store; all ranks together, each its share.

        Args:
            store: of this model's weights.
            model: the bare segmentor; left as it is.
            pictured: indices of images whose initial maps are kept for the page.
        """
        if is_main := comm.is_main_process():
            store.open()
        comm.synchronize()
        store.open()
        missing = _missing(store)
        todo = missing[comm.get_rank() :: comm.get_world_size()]
        asks = bool(missing) and self.needs_survey
        thresholds = self.thresholds_of(self.survey(model)) if asks else None
        with kept_random_state(), inference_context(model), torch.no_grad(), self.cached(model):
            bar = tqdm(todo, f"pseudo-labels {store.round_number}", disable=not (todo and is_main))
            for index, item in zip(bar, self._items(todo), strict=True):
                label = self.label(model, item, thresholds)
                size = (item["height"], item["width"])
                label = self._corrected(index, label, size)
                store.write(index, label, size=size, keep_initial=index in pictured)
        _finish(store)

    def is_whole(self, store: PseudoLabelStore) -> bool:
        """Whether all labels of a round are there; all ranks together, each looks at its share.

        Of a store that this process has filled, or has looked at before, nothing is read again.
        """
        if store.counts is None and not _missing(store):
            _finish(store)
        return store.counts is not None

    def change_share(self, previous: PseudoLabelStore, current: PseudoLabelStore) -> float | None:
        """Share of the pixels labelled in both rounds whose class differs; all ranks together.

        Returns:
            In [0, 1]; None where no pixel is labelled in both, or a label of the round before
            cannot be read any more.

        Raises:
            ValueError: if the two hold other images or classes.
        """
        parts = comm.all_gather(count_changes(previous, current, *_place()))
        if None in parts:
            return None
        both, changed = (sum(numbers) for numbers in zip(*parts, strict=True))
        return changed / both if both else None

    def _corrected(self, index: int, label: PseudoLabel, size: tuple[int, int]) -> PseudoLabel:
        """With what a person says of the image of an index."""
        file = os.path.basename(self.target.records[index]["file_name"])
        found = [part for part in self.target.corrections if part.image == file]
        return corrected(label, found, size, self.target.vocabulary.names)

    def cached(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, SAM's embeddings are taken from where they are kept, if anywhere.

        For images that come again in every round; not for what is drawn at random.
        """
        encoder = own_sam_encoder(model)
        if self.labeler.sam:  # its encoder is another only where the model has none
            encoder = self.labeler.sam.encoder
        if self._features is None or encoder is None:
            return nullcontext()
        return self._features.used_by(encoder)

    def label(
        self,
        model: nn.Module,
        item: dict[str, Any],
        thresholds: np.ndarray | None = None,
        max_side: int | None = None,
    ) -> PseudoLabel:
        """Label one model input with a model in evaluation mode, at most at `max_side`."""
        shown = self._shown(model, item, max_side or self._max_side)
        return self.labeler.label_item(item, *shown, thresholds)

    def _shown(
        self, model: nn.Module, item: dict[str, Any], max_side: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What a labeler sees of an image: probabilities, picture and embedding."""
        probs, embedding = predict(model, item, max_side)
        image = item["image"]
        if self.labeler.sam is not None and self._refine_file:
            pixels = read_image(item["file_name"])
            image, embedding = torch.from_numpy(pixels).permute(2, 0, 1), None
        return probs, image.to(probs.device), embedding

    def _items(self, indices: Iterable[int]) -> Iterable[dict[str, Any]]:
        return self.items([self.target.records[i] for i in indices])

    def predictions(self, model: nn.Module, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """(H, W) class ids that a model gives some images, by index; random state is kept."""
        found = {}
        with kept_random_state(), inference_context(model), torch.no_grad(), self.cached(model):
            for index, item in zip(indices, self._items(indices), strict=True):
                found[index] = predict_labels(model, item, self._max_side).cpu().numpy()
        return found

    @phase("survey")
    def survey(self, model: nn.Module, indices: Sequence[int] | None = None) -> Survey:
        """What a model is sure of in some images, by default in all; all ranks, each a share."""
        chosen = list(range(len(self.target.records)) if indices is None else indices)
        mine = chosen[comm.get_rank() :: comm.get_world_size()]
        parts = []
        with kept_random_state(), inference_context(model), torch.no_grad(), self.cached(model):
            for index, item in zip(mine, self._items(mine), strict=True):
                shown = self._shown(model, item, self._max_side)
                parts.append(self.labeler.survey_item(index, item, *shown))
        return Survey.joined(comm.all_gather(Survey.joined(parts)))

    def thresholds_of(self, survey: Survey) -> np.ndarray:
        """(T,) float32, by the quantile where there is one."""
        return self.labeler.limits_of(survey, self._quantile)

    def accepted(self, survey: Survey) -> Survey:
        """What of a survey passes the gate."""
        return survey.accepted(self.thresholds_of(survey), self.labeler.vetoed)

    @property
    def threshold(self) -> float:
        """Of the gate, where no quantile lowers it."""
        return self.labeler.threshold

    @property
    def needs_survey(self) -> bool:
        """Whether thresholds hang on all images."""
        return self._quantile > 0


def _place() -> tuple[int, int]:
    """Rank and number of processes."""
    return comm.get_rank(), comm.get_world_size()


def _missing(store: PseudoLabelStore) -> list[int]:
    """Images to do, the same list on all ranks, each of which has looked at its share.

    None goes on before all have looked, so that nobody finds what another has begun to write.
    """
    missing, damaged = zip(*comm.all_gather(store.take_stock(*_place())), strict=True)
    if any(damaged) and comm.is_main_process():
        logger.warning(
            "Pseudo-labels in %s: %d of %d are damaged, and made again.",
            store.folder,
            sum(damaged),
            len(store),
        )
    return list(chain.from_iterable(missing))


def _finish(store: PseudoLabelStore) -> None:
    """Sum up what all ranks have counted while they looked and wrote."""
    store.finish(comm.all_gather(store.own_counts), comm.is_main_process())
    comm.synchronize()


def predict(model: nn.Module, item: dict[str, Any], max_side: int) -> tuple[Tensor, Tensor | None]:
    """Probabilities of one image, and SAM's embedding if the model computes it.

    Args:
        model: the bare segmentor in evaluation mode.
        item: a model input.
        max_side: longest side of the result in pixels.

    Returns:
        (T, H, W) in [0, 1], and (1, C, n, n) or None.

    Raises:
        FloatingPointError: if a probability is not finite; names the image.
    """
    item, embedding = _at_most(item, max_side), None
    if isinstance(model, OpenVocabSegmentor) and model.tiles is None:
        vocabulary, image = item["vocabulary"], item["image"]
        features = model.encode([image.to(model.device, torch.float32)])
        (scores,) = model.score(features, model.embed(vocabulary), vocabulary)
        probs = model.confidences(scores.at((item["height"], item["width"])))
        embedding = features.tensors.get("sam")
    else:  # with windows there is an embedding per window, and none of the whole image
        probs = model([item])[0]["sem_seg"]
    _refuse_logits(item, probs.amax(0))
    return probs, embedding


def predict_labels(model: nn.Module, item: dict[str, Any], max_side: int) -> Tensor:
    """(H, W) int32, the most probable classes of one image; see `predict`."""
    found = label_maps(model, [_at_most(item, max_side)])[0]
    _refuse_logits(item, found.confidence)
    return found.labels


def _refuse_logits(item: dict[str, Any], confidence: Tensor) -> None:
    low, high = confidence.min().item(), confidence.max().item()
    if not 0 <= low <= high <= 1.001:  # an average may be a hair above 1; NaN is refused, too
        raise FloatingPointError(
            f"{item.get('file_name', 'Image')}: expected finite probabilities, got {low:g} to "
            f"{high:g} as the best of pixels. Check MODEL.WEIGHTS, MODEL.DTYPE if it is not fp32, "
            "and that the model does not answer with logits."
        )


def _at_most(item: dict[str, Any], max_side: int) -> dict[str, Any]:
    """A model input whose answer is wanted with sides up to `max_side`."""
    scale = min(1.0, max_side / max(item["height"], item["width"]))
    size = {side: max(1, round(item[side] * scale)) for side in ("height", "width")}
    return {**item, **size}


def sam_digest(sam: SamBranch, own: nn.Module | None = None) -> str:
    """Of the branch that refines, but for an encoder that is the model's own, in whose it is."""
    parts = {"prompt": sam.prompt_encoder, "decoder": sam.mask_decoder}
    if sam.encoder is not own:
        parts["encoder"] = sam.encoder
    return weights_digest(
        {f"{k}.{n}": v for k, part in parts.items() for n, v in part.state_dict().items()}
    )


def _settings_of(labeler: Labeler, side: int, quantile: float, refine_file: bool) -> dict[str, Any]:
    sam, refine = labeler.sam, []
    if sam is not None:
        parts = [asdict(part) for part in (sam.prompts, sam.vote) if part is not None]
        refine = [sam_digest(sam), *parts, sam.frame, sam.purity, refine_file]
    limits = [labeler.thresholds.tolist(), labeler.min_pixel, quantile]
    gate = [labeler.scoring, *limits, sorted(labeler.vetoed)]
    made = {"version": LABELLING_VERSION, "gate": gate, "refine": refine, "max_side": side}
    return {**made, **labeler.facts()}
