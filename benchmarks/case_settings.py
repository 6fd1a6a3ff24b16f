"""What a case of `benchmarks.inference` or `benchmarks.training` is made of.

Kept apart from what measures it, so that the commands do without torch until they measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# What differs between our sides: keys of the config.
OURS = {
    "stseg": (),
    "stseg, stages recomputed": ("MODEL.SEM_SEG_HEAD.GRADIENT_CHECKPOINTING",),
    "stseg, all recomputed": (
        "MODEL.SEM_SEG_HEAD.GRADIENT_CHECKPOINTING",
        "MODEL.CLIP.GRADIENT_CHECKPOINTING",
    ),
}


@dataclass(frozen=True)
class Case:
    """What is measured in one process; paths as text, so that it travels as JSON.

    Attributes:
        side: "stseg" or "reference".
        classes: number of names.
        batch: images; the reference takes them one after the other.
        image_size: side at which the networks work, in pixels.
        photo: (height, width) of the images and of the answers; None for the working size.
        answer: "probabilities" (T, height, width), or "labels" (height, width).
        device: such as "cpu" or "cuda".
        dtype: "fp32" or "bf16" (autocast).
        compiled: `torch.compile` on our encoders and DEA.
        threads: of PyTorch.
        warmup: forwards before those that count.
        repeats: forwards that count.
        rejection: classes kept per cell and stage, 0 for all.
        survivors: instead of the rejection's choice, how many live after each stage.
        detail: also the steps of each decoder stage of the reference.
        config_file: ours.
        opts: further keys and values of our config.
        reference: the checkout.
        weights: file the reference's weights are written to, and ours read from; "" for none.
        outputs: the same for answers.
    """

    side: str
    classes: int = 20
    batch: int = 1
    image_size: int = 768
    photo: Sequence[int] | None = None
    answer: str = "probabilities"
    device: str = "cpu"
    dtype: str = "fp32"
    compiled: bool = False
    threads: int = 1
    warmup: int = 1
    repeats: int = 3
    rejection: int = 0
    survivors: Sequence[int] = ()
    detail: bool = False
    config_file: str = ""
    opts: Sequence[str] = ()
    reference: str = ""
    weights: str = ""
    outputs: str = ""


@dataclass(frozen=True)
class TrainingCase:
    """What is measured in one process; paths as text, so that it travels as JSON.

    Attributes:
        side: "reference" or a key of `OURS`.
        batch: images.
        crop: side of the images, at which the network works, in pixels.
        classes: number of names.
        device: such as "cpu" or "cuda", or "meta" to count.
        threads: of PyTorch.
        dtype: of weights and activations, "float32" or, to compare without its rounding, "float64".
        steps: further steps, which are timed; the first is compared.
        reference: the checkout.
        folder: where the reference leaves its weights, losses and gradients for our sides.
    """

    side: str
    batch: int = 1
    crop: int = 256
    classes: int = 60
    device: str = "cpu"
    threads: int = 1
    dtype: str = "float32"
    steps: int = 2
    reference: str = ""
    folder: str = ""
