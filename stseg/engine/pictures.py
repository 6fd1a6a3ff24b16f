"""Pictures of predictions on a few fixed images, for TensorBoard."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_context
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from stseg.data import dataset_label_reader, read_image, spread
from stseg.engine.hooks import AtEvaluation
from stseg.modeling.scores import label_maps
from stseg.render import draw_overlay
from stseg.utils import kept_random_state

#: Largest height of a picture in pixels: event files stay small.
_PANEL_HEIGHT = 512


@dataclass(frozen=True)
class Sample:
    """An image to predict: model input, photo (H, W, 3) uint8, label map (H, W) if there is one."""

    item: dict
    photo: np.ndarray
    label: np.ndarray | None
    label_names: tuple[str, ...]


class Pictures(AtEvaluation):
    """Put photo, prediction and label side by side into TensorBoard.

    Rank 0, after evaluation, before the writers.
    """

    def __init__(
        self,
        period: int,
        model: nn.Module,
        samples: list[Sample],
        weights: Callable[[], AbstractContextManager],
    ) -> None:
        """Keep the parts.

        Args:
            period: that of the evaluation.
            model: the bare model.
            samples: from `pick_samples`.
            weights: returns a context in which the model holds the weights to show.
        """
        super().__init__(period)
        self._model, self._samples, self._weights = model, samples, weights

    def act(self) -> None:
        """Predict and put the pictures into the storage."""
        with self._weights(), kept_random_state():
            for k, sample in enumerate(self._samples):
                picture = _picture(self._model, sample)
                self.trainer.storage.put_image(f"predictions/{k}", picture.transpose(2, 0, 1))


def pick_samples(loader: DataLoader, dataset_name: str, count: int) -> list[Sample]:
    """Take `count` images spread evenly over a data set, the same ones in every run.

    Args:
        loader: a test loader of the data set.
        dataset_name: a registered name, whose metadata describe the label files.
        count: fewer are taken where the data set is smaller.
    """
    metadata = MetadataCatalog.get(dataset_name)
    picks = spread(count, len(loader.dataset))
    return [_sample(loader.dataset[k], metadata, dataset_name) for k in picks]


def _sample(item: dict, metadata: object, dataset_name: str) -> Sample:
    names = tuple(getattr(metadata, "stuff_classes", item["vocabulary"].names))
    path = item.get("sem_seg_file_name")
    label = dataset_label_reader(dataset_name)(path) if path else None
    return Sample(item, read_image(item["file_name"]), label, names)


def _picture(model: nn.Module, sample: Sample) -> np.ndarray:
    with inference_context(model), torch.no_grad():
        prediction = label_maps(model, [sample.item])[0].labels.cpu().numpy()
    names = sample.item["vocabulary"].names
    panels = [sample.photo, draw_overlay(sample.photo, prediction, names)]
    if sample.label is not None:
        panels.append(draw_overlay(sample.photo, sample.label, sample.label_names))
    # Overlays are enlarged where the photo is small, and carry a legend.
    height = min(_PANEL_HEIGHT, max(panel.shape[0] for panel in panels))
    return np.concatenate([_resize(panel, height) for panel in panels], axis=1)


def _resize(panel: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    return np.asarray(Image.fromarray(panel).resize((width, height)))
