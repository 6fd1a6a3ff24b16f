"""The trunk of CLIP-photo, made known to timm: a classifier that answers with a vector.

A mean of class vectors lies where a text of many classes does ("dog"), which a single feature does
not.
"""

from __future__ import annotations

import timm
from timm.models import register_model
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from stseg.modeling.encoders.timm_arguments import own_arguments

PHOTO_TRUNK = "tf_efficientnet_lite2"


class ClassMixture(nn.Module):
    """The mean of the vectors of all classes, by what a classifier gives to each."""

    def __init__(self, classes: nn.Linear, channels: int):
        """Put vectors behind a classifier.

        Args:
            classes: features to scores of K classes.
            channels: C, of a class vector.
        """
        super().__init__()
        self.classes = classes
        self.vectors = nn.Linear(classes.out_features, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(..., features) to (..., C), not normalised."""
        return self.vectors(self.classes(features).softmax(-1))


@register_model
def efficientnet_lite2_photo(
    pretrained: bool = False, num_classes: int = 512, **kwargs
) -> EfficientNet:
    """Timm's EfficientNet-Lite2 for the 1,000 classes of ImageNet, with a `ClassMixture`.

    Args:
        pretrained: False, as the weights are those of the whole CLIP model.
        num_classes: channels of its answer.
        **kwargs: of timm's model.
    """
    kwargs = own_arguments(pretrained, kwargs, "efficientnet_lite2.json")
    model = timm.create_model(PHOTO_TRUNK, pretrained=False, **kwargs)
    model.classifier = ClassMixture(model.classifier, num_classes)
    model.num_classes = num_classes
    return model
