"""Loading of EBSeg's reference outputs (fixtures/ebseg) for the parity tests."""

import numpy as np
import torch

from tests.helpers.parity import tensor

TOLERANCE = 2e-5  # of an array's maximum, for single modules


def ebseg_arrays(shared_dir, name):
    arrays = np.load(shared_dir / "fixtures" / "ebseg" / f"{name}.npz")
    return {key: arrays[key] for key in arrays.files}


def under(arrays, prefix):
    """State dict of the arrays whose names begin so."""
    return {
        key.removeprefix(prefix): tensor(value).reshape(value.shape)
        for key, value in arrays.items()
        if key.startswith(prefix)
    }


def difference(ours, reference):
    """Largest difference as a share of the reference's maximum; shapes must agree."""
    reference = tensor(reference).reshape(reference.shape)
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def assert_within(ours, reference, tolerance=TOLERANCE):
    assert torch.isfinite(ours).all()
    assert difference(ours, reference) <= tolerance
