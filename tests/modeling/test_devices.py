"""No tensor is left on the CPU when a model is on a GPU, shown without one.

Fake tensors have a device, a shape and a type but no content, and refuse to mix devices. What
depends on content (early rejection, labels) cannot be shown so.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stseg.modeling.meta_arch.ebseg import EBSeg
from stseg.modeling.meta_arch.stseg import STSeg
from stseg.modeling.text.class_embeddings import ClassEmbeddings
from tests.helpers.tiny_model import VIT_NAME, tiny_cfg, tiny_ebseg_cfg

GPU = torch.device("cuda", 0)


def on_fake_gpu(**changes):
    """A model, images (2, 3, 64, 64) and embeddings of 4 classes, one of them with a synonym."""
    return faked(STSeg(tiny_cfg(MODEL__SEM_SEG_HEAD__CHUNK_SIZE=2, **changes)))


def faked(model):
    with FakeTensorMode(), GPU:
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, x in tensors.items():
                    if x is None:
                        continue
                    tensors[name] = torch.empty(x.shape, dtype=x.dtype)
                    if isinstance(x, nn.Parameter):
                        tensors[name] = nn.Parameter(tensors[name], x.requires_grad)
        images = torch.zeros(2, 3, 64, 64)
        embeds = torch.zeros(5, len(model.text_encoder.templates), 32)
        rows = torch.zeros(5, dtype=torch.int64)
    return model, images, ClassEmbeddings(embeds, rows, 4)


def answer(model, images, embeddings):
    return model.logits(model.encode(list(images)).tensors, embeddings)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "MODEL__STSEG__DEA__ENABLED": False,
            "MODEL__SEM_SEG_HEAD__KEPT_MIB": 0,
            "MODEL__SEM_SEG_HEAD__POOLING_SIZE_TEST": 2,
            "MODEL__SEM_SEG_HEAD__TEXT_GUIDANCE_DIMS": [3, 2, 1],
        },
        {"MODEL__CLIP__NAME": VIT_NAME, "MODEL__SEM_SEG_HEAD__ATTENTION": "softmax"},
    ],
)
def test_evaluation_stays_on_one_device(changes):
    model, images, embeddings = on_fake_gpu(**changes)
    with images.fake_mode, torch.no_grad():
        scores = answer(model.eval(), images, embeddings)
    assert {x.device for x in scores} == {GPU}
    assert scores[0].shape[:2] == (2, 4)


@pytest.mark.parametrize("recomputed", [False, True])
def test_training_stays_on_one_device(recomputed):
    model, images, embeddings = on_fake_gpu(
        MODEL__SEM_SEG_HEAD__GRADIENT_CHECKPOINTING=recomputed,
        MODEL__CLIP__GRADIENT_CHECKPOINTING=recomputed,
    )
    with images.fake_mode:
        scores = answer(model.train(), images, embeddings)
    assert len(scores) == 4 and {x.device for x in scores} == {GPU}


@pytest.mark.parametrize("marks", [None, [True, False, True, False]])
def test_queries_stay_on_one_device(marks):
    model, images, embeddings = faked(EBSeg(tiny_ebseg_cfg()))
    with images.fake_mode, torch.no_grad():
        seen = None if marks is None else torch.tensor(marks, device=GPU)
        masks, shares = model.eval().logits(model.encode(list(images)).tensors, embeddings, seen)
    assert masks.device == shares.device == GPU and shares.shape == (2, 6, 4)
    with images.fake_mode:
        tensors = model.train().encode(list(images)).tensors
    assert len(tensors) == 3 * 4 and {x.device for x in tensors.values()} == {GPU}


def test_a_mixture_would_be_noticed():
    model, images, embeddings = on_fake_gpu()
    with images.fake_mode, torch.no_grad():
        model.image_encoder.pixel_mean = torch.zeros(3, 1, 1)
        with pytest.raises(RuntimeError, match="devices"):
            answer(model.eval(), images, embeddings)
