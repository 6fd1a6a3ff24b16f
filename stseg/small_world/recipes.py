"""Recipes of the miniature's trainings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionRecipe:
    """What a training of CLIP-mini depends on; saved, so that a resumed run is the same run."""

    steps: int = 5000
    seed: int = 0
    batch: int = 128
    objects: int = 24000
    scenes: int = 24000
    object_size: int = 64
    scene_size: int = 96
    object_share: float = 0.35  # of the steps, at the start: no scenes yet
    mixed_share: float = 0.35  # of the later steps: objects again
    lr: float = 2e-3
    phrases: int = 96
    model: str = "convnext_mini"  # or vit_mini


@dataclass(frozen=True)
class PromptRecipe:
    """What a training of SAM-mini depends on; saved, so that a resumed run is the same run."""

    steps: int = 7500
    region_steps: int = 300  # of the steps, at the start: the image encoder, without prompts
    joint_steps: int = 1500  # at the end: image encoder and decoder; between: decoder alone
    seed: int = 0
    region_batch: int = 8
    batch: int = 4
    scenes: int = 1500
    region_lr: float = 2e-3
    lr: float = 1e-3
    joint_lr: float = 5e-4
    weight_decay: float = 0.05
    warmup: int = 60
