"""Loading of EBSeg's reference outputs (fixtures/ebseg) for the parity tests."""

import numpy as np
import torch

from stseg.checkpoint.ebseg_decoders import rename
from stseg.modeling.losses import MaskTargets

#: Largest difference, as a share of the largest reference value: what another order of summation
#: is worth in one module.
TOLERANCE = 2e-5


def tensor(array):
    """A copy that keeps scalars as they are."""
    return torch.from_numpy(np.array(array))


def relative_difference(ours, reference):
    reference = torch.as_tensor(reference)
    assert ours.shape == reference.shape
    scale = reference.abs().max().item()
    return (ours.detach() - reference).abs().max().item() / (scale or 1.0)


def assert_near(ours, reference, tolerance=TOLERANCE):
    found = relative_difference(ours, reference)
    assert found <= tolerance, found


def part_weights(arrays, part):
    """State dict of one of our parts, "pixel_decoder" say, from the arrays under "w/"."""
    ours = {rename(f"sem_seg_head.{key[2:]}"): tensor(value) for key, value in arrays.items()
            if key.startswith("w/")}  # fmt: skip
    return {k.removeprefix(f"{part}."): v for k, v in ours.items() if k.startswith(f"{part}.")}


def maps_of(arrays, prefix="in_"):
    return {f"res{i}": tensor(arrays[f"{prefix}res{i}"]) for i in range(2, 6)
            if f"{prefix}res{i}" in arrays}  # fmt: skip


def fused_maps(arrays):
    return maps_of(arrays) | maps_of(arrays, "fused_")


def levels_of(arrays):
    return [tensor(arrays[f"multi_scale_{i}"]) for i in range(3)]


def targets_of(arrays, prefix="target_"):
    """Masks of each image."""
    count = sum(key.startswith(f"{prefix}masks_") for key in arrays)
    return [MaskTargets(tensor(arrays[f"{prefix}masks_{i}"]), tensor(arrays[f"{prefix}labels_{i}"]))
            for i in range(count)]  # fmt: skip


def is_finite(*tensors):
    return all(torch.isfinite(x).all() for x in tensors)


class RecordedPoints:
    """The points of a recorded run, in the order in which it asked for them."""

    def __init__(self, arrays, rounds, images=2):
        self._uniform = [tensor(arrays[f"match_points_{i}_{image}"])
                         for i in rounds for image in range(images)]  # fmt: skip
        self._uncertain = [tensor(arrays[f"loss_points_{i}"]) for i in rounds]

    def uniform(self, mask_logits):
        return self._uniform.pop(0)

    def uncertain(self, mask_logits):
        points = self._uncertain.pop(0)
        assert len(points) == len(mask_logits)
        return points
