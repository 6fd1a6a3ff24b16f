"""The trainer of `benchmarks.step_flops`, with random text embeddings, and the count of a step."""

import resource
from collections.abc import Sequence

import torch
from detectron2.utils.events import EventStorage
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from stseg.config import setup_cfg
from stseg.data.readers import register_from_cfg
from stseg.engine import Trainer
from stseg.modeling.text import CLIPTextEncoder


def random_prompts(encoder: CLIPTextEncoder, prompts: Sequence[str]) -> torch.Tensor:
    """Unit vectors in place of `CLIPTextEncoder.encode_prompts`."""
    width = encoder.tower.clip.text_projection.shape[1]
    return F.normalize(torch.randn(len(prompts), width, device=encoder.device), dim=-1)


def make_trainer(config_file: str, opts: Sequence[str]) -> Trainer:
    """A trainer with random weights; from now on no `CLIPTextEncoder` of this process encodes."""
    CLIPTextEncoder.encode_prompts = random_prompts
    random = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.SAM.CHECKPOINT", "random"]
    cfg = setup_cfg(config_file, [*random, "MODEL.TEXT.CACHE_DIR", "", *opts])
    register_from_cfg(cfg)
    return Trainer(cfg)


def count(trainer: Trainer) -> dict:
    """Counts by part of the model, forward and backward, of one step."""
    counter = FlopCounterMode(depth=2, display=False)
    with EventStorage(0), counter:
        trainer._trainer.iter = 0
        trainer._trainer.run_step()
    parts = {
        name: sum(ops.values()) / 1e12
        for name, ops in counter.get_flop_counts().items()
        if name.count(".") < 2  # the model and its parts
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"tflop": parts, "peak_gib": peak}
