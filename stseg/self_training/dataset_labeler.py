"""Pseudo-labels of a whole data set: the model and SAM on one side, files on the other."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import Tensor, nn
from tqdm import tqdm

from stseg.checkpoint import AnswersDigest, weights_digest
from stseg.data import build_record_loader, read_image
from stseg.modeling.encoders import SAMImageEncoder, create_sam, decoder_parts
from stseg.modeling.meta_arch import OpenVocabSegmentor
from stseg.modeling.scores import label_maps
from stseg.self_training.gate import class_thresholds, initial_masks
from stseg.self_training.labeler import Labeler, SamBranch
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.self_training.refiner import PromptSettings
from stseg.self_training.region_vote import RegionSettings
from stseg.self_training.sam_features import SamFeatures
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.store_key import StoreKey, labelling_keys
from stseg.self_training.target import Target
from stseg.structures import Vocabulary
from stseg.utils import kept_random_state, phase

logger = logging.getLogger(__name__)


class DatasetLabeler:
    """Labels the images of a target, round after round. The same object on all ranks."""

    @phase("build SAM's decoder")
    def __init__(self, cfg: CfgNode, target: Target, model: nn.Module) -> None:
        """Build SAM's branch beside the model.

        Args:
            cfg: reads SELF_TRAINING.*, MODEL.SAM.* and the test-time INPUT.*.
            target: images and names.
            model: the bare segmentor; only looked at.
        """
        st = cfg.SELF_TRAINING
        self._cfg, self._target = cfg, target
        self._max_side = st.LABEL_MAX_SIZE
        self.labeler = Labeler(
            target.vocabulary.names,
            scoring=st.GATE.SCORING,
            threshold=st.GATE.THRESH,
            vetoed=target.vetoed,
            sam=build_sam_branch(cfg, model) if st.REFINE.ENABLED else None,
        )
        self._answers = AnswersDigest()
        own = getattr(model, "sam_encoder", None)
        self._sam_digest = _digest_of_sam(self.labeler.sam, own) if self.labeler.sam else ""
        self._features = (
            SamFeatures(st.SAM_CACHE_DIR, st.SAM_CACHE_GIB) if st.SAM_CACHE_DIR else None
        )

    def digest(self, model: nn.Module) -> str:
        """Of all weights that a model's answers depend on; its frozen ones are read once."""
        return self._answers.of(model)

    def store(self, root: str, round_number: int, weights: str) -> PseudoLabelStore:
        """The folder of a round, not opened yet.

        Args:
            root: holds the folders of all rounds.
            round_number: from 1.
            weights: digest of the weights that label.
        """
        key = StoreKey.of(
            weights=weights,
            vocabulary=self._target.vocabulary.key,
            settings={
                **labelling_keys(self._cfg),
                "sam": self._sam_digest,
                "vetoed": sorted(self._target.vetoed),
            },
            images=[record["file_name"] for record in self._target.records],
        )
        return PseudoLabelStore(root, round_number, key, self._target.vocabulary.names)

    @phase("pseudo-labels")
    def fill(self, store: PseudoLabelStore, model: nn.Module, pictured: Sequence[int]) -> None:
        """Make what is missing in a store; all ranks together, each its share.

        Args:
            store: of this model's weights.
            model: the bare segmentor; left as it is.
            pictured: indices of images whose initial maps are kept for the page.
        """
        if comm.is_main_process():
            store.open()
        comm.synchronize()
        store.open()
        todo = store.missing(comm.get_rank(), comm.get_world_size())
        with kept_random_state(), inference_context(model), torch.no_grad(), self.cached(model):
            thresholds = self._thresholds(model)
            bar = tqdm(todo, f"pseudo-labels {store.round_number}", disable=_is_quiet(todo))
            for index, item in zip(bar, self._items(todo), strict=True):
                label = self.label(model, item, thresholds)
                size = (item["height"], item["width"])
                store.write(index, label, size=size, keep_initial=index in pictured)
        comm.synchronize()
        if comm.is_main_process() and not store.is_finished:
            store.finish()
        comm.synchronize()

    def cached(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside, SAM's embeddings are taken from SELF_TRAINING.SAM_CACHE_DIR, if there is one.

        For images that come again in every round; not for what is drawn at random.
        """
        encoder = getattr(model, "sam_encoder", None)
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
        """Label one model input with a model in evaluation mode, at most at LABEL_MAX_SIZE."""
        probs, embedding = predict(model, item, max_side or self._max_side)
        image = item["image"]
        if self.labeler.sam is not None and self._cfg.SELF_TRAINING.REFINE.IMAGE == "file":
            pixels = read_image(item["file_name"])
            image, embedding = torch.from_numpy(pixels).permute(2, 0, 1), None
        return self.labeler.label(probs, image.to(probs.device), embedding, thresholds)

    def _items(self, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
        records = [self._target.records[i] for i in indices]
        yield from target_items(self._cfg, records, self._target.name, self._target.vocabulary)

    def predictions(self, model: nn.Module, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """(H, W) class ids that a model gives some images, by index; random state is kept."""
        found = {}
        with kept_random_state(), inference_context(model), torch.no_grad(), self.cached(model):
            for index, item in zip(indices, self._items(indices), strict=True):
                found[index] = predict_labels(model, item, self._max_side).cpu().numpy()
        return found

    def _thresholds(self, model: nn.Module) -> np.ndarray | None:
        """(T,) thresholds by quantile, which need the scores of all images first."""
        gate = self._cfg.SELF_TRAINING.GATE
        if gate.QUANTILE <= 0:
            return None
        mine = range(comm.get_rank(), len(self._target.records), comm.get_world_size())
        scores = []
        for item in self._items(list(mine)):
            initial = initial_masks(predict(model, item, self._max_side)[0], gate.SCORING)
            won = np.isin(np.arange(len(initial.scores)), initial.label_map)
            scores.append(np.where(won, initial.scores, np.nan))
        rows = np.array([row for part in comm.all_gather(scores) for row in part])
        per_class = [column[~np.isnan(column)] for column in rows.T]
        return class_thresholds(per_class, gate.THRESH, gate.QUANTILE)


def target_items(
    cfg: CfgNode, records: Sequence[dict[str, Any]], name: str, vocabulary: Vocabulary
) -> Iterator[dict[str, Any]]:
    """Model inputs of records, one by one, as in testing."""
    if records:
        for batch in build_record_loader(cfg, records, name, vocabulary):
            yield from batch


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
    _refuse_nan(item, probs.amax(0))
    return probs, embedding


def predict_labels(model: nn.Module, item: dict[str, Any], max_side: int) -> Tensor:
    """(H, W) int32, the most probable classes of one image; see `predict`."""
    found = label_maps(model, [_at_most(item, max_side)])[0]
    _refuse_nan(item, found.confidence)
    return found.labels


def _refuse_nan(item: dict[str, Any], confidence: Tensor) -> None:
    if not bool(torch.isfinite(confidence).all()):
        raise FloatingPointError(
            f"{item.get('file_name', 'Image')}: expected finite probabilities, got NaN or infinity "
            "from the model. Check MODEL.WEIGHTS, and MODEL.DTYPE if it is not fp32."
        )


def _at_most(item: dict[str, Any], max_side: int) -> dict[str, Any]:
    """A model input whose answer is wanted with sides up to `max_side`."""
    scale = min(1.0, max_side / max(item["height"], item["width"]))
    size = {side: max(1, round(item[side] * scale)) for side in ("height", "width")}
    return {**item, **size}


def build_sam_branch(cfg: CfgNode, model: nn.Module) -> SamBranch:
    """SAM's decoder as SELF_TRAINING.REFINE.* asks for it, on the model's device.

    The image encoder is the model's own where it has one.
    """
    refine = cfg.SELF_TRAINING.REFINE
    sam = create_sam(cfg.MODEL.SAM.NAME, cfg.MODEL.SAM.CHECKPOINT)
    device = next(model.parameters()).device
    prompt_encoder, mask_decoder = decoder_parts(sam, cfg.MODEL.SAM.INPUT_SIZE)
    parts = [part.to(device) for part in (prompt_encoder, mask_decoder)]
    encoder = getattr(model, "sam_encoder", None)
    if encoder is None:
        encoder = SAMImageEncoder(sam.image_encoder, input_size=cfg.MODEL.SAM.INPUT_SIZE)
        encoder = encoder.to(device).eval()
    vote = RegionSettings(
        points_per_side=refine.REGION_VOTE.POINTS_PER_SIDE, batch_size=refine.BATCH_SIZE
    )
    return SamBranch(
        encoder,
        *parts,
        prompts=PromptSettings(
            kinds=tuple(refine.PROMPTS),
            batch_size=refine.BATCH_SIZE,
            min_iou_with_initial=refine.MIN_IOU,
        ),
        frame=refine.FRAME,
        vote=vote if refine.REGION_VOTE.ENABLED else None,
        purity=refine.REGION_VOTE.PURITY,
    )


def _digest_of_sam(sam: SamBranch, own: nn.Module | None) -> str:
    """Of the branch that refines, but for an encoder that is the model's own, in whose it is."""
    parts = {"prompt": sam.prompt_encoder, "decoder": sam.mask_decoder}
    if sam.encoder is not own:
        parts["encoder"] = sam.encoder
    return weights_digest(
        {f"{k}.{n}": v for k, part in parts.items() for n, v in part.state_dict().items()}
    )


def spread(count: int, size: int) -> list[int]:
    """`count` indices spread evenly over `size`, fewer where there are fewer."""
    return sorted({k * size // count for k in range(count)})


def _is_quiet(todo: Sequence[int]) -> bool:
    return not comm.is_main_process() or not todo
