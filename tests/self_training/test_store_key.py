import dataclasses
import os

import pytest
import torch

from stseg.checkpoint.state import weights_digest
from stseg.self_training.store_key import StoreKey


def make_key(folder, names=("a.jpg", "b.jpg"), **parts):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        (folder / name).write_bytes(b"x" * (k + 1))
    defaults = {"weights": "w", "vocabulary": "v", "settings": {"gate": 0.9, "prompts": ["mask"]}}
    return StoreKey.of(images=[folder / name for name in names], **{**defaults, **parts})


def test_every_part_counts(tmp_path):
    base = make_key(tmp_path)
    others = [
        dataclasses.replace(base, weights="w2"),
        dataclasses.replace(base, vocabulary="v2"),
        dataclasses.replace(base, settings={"gate": 0.8, "prompts": ["mask"]}),
        dataclasses.replace(base, image_digests=base.image_digests[:1] * 2),
        dataclasses.replace(base, images=base.images[::-1]),
        make_key(tmp_path, names=("a.jpg",)),
    ]
    assert len({key.digest for key in [base, *others]}) == 7


def test_a_moved_folder_and_the_order_of_settings_do_not_count(tmp_path):
    here = make_key(tmp_path / "here")
    there = make_key(tmp_path / "there", settings={"prompts": ("mask",), "gate": 0.9})
    assert here.digest == there.digest


def test_an_image_replaced_by_one_of_its_name_size_and_date_counts(tmp_path):
    base, file = make_key(tmp_path), tmp_path / "b.jpg"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    parts = {"weights": "w", "vocabulary": "v", "settings": base.settings, "images": base.images}
    digests = []
    for content, dates in ((b"xy", times), (b"xx", (0, 0))):
        file.write_bytes(content)
        os.utime(file, ns=dates)
        digests.append(StoreKey.of(**parts).digest)
    assert digests[0] != digests[1] == base.digest


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_settings_that_json_cannot_hold_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="Pseudo-label settings"):
        make_key(tmp_path, settings={"gate": value})


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        StoreKey.of(weights="w", vocabulary="v", settings={}, images=[tmp_path / "gone.jpg"])


def test_weights_digest_sees_value_name_type_and_shape_but_not_order():
    base = {"a": torch.arange(6.0), "b": torch.ones(2)}
    changed = [
        {**base, "a": torch.arange(6.0) + 1e-6},
        {"c": base["a"], "b": base["b"]},
        {**base, "a": base["a"].double()},
        {**base, "a": base["a"].reshape(2, 3)},
        {"a": base["b"], "b": base["a"]},
    ]
    assert len({weights_digest(state) for state in [base, *changed]}) == 6
    assert weights_digest(dict(reversed(base.items()))) == weights_digest(base)


def test_weights_digest_takes_every_kind_of_tensor():
    grid = torch.arange(6.0).reshape(2, 3)
    state = {
        "half": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "flag": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "turned": grid.T,
        "strided": torch.arange(6.0)[::2],
    }
    assert weights_digest(state) == weights_digest({**state, "turned": grid.T.contiguous()})
    assert weights_digest(state) != weights_digest({**state, "scalar": torch.tensor(4)})


def test_weights_digest_refuses_what_is_no_tensor():
    with pytest.raises(TypeError, match="'extra'"):
        weights_digest({"extra": 3})
