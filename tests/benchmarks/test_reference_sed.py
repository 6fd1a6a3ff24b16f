"""The adapter of SED's checkout, as far as it goes without one."""

import pytest
import torch

from benchmarks.reference_sed import CONFIG, build, text_embeddings

WANTED = {"num_classes": 2, "device": "cuda", "train": False, "seed": 0}


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--reference: expected a checkout.*nothing"):
        build(tmp_path / "nothing", **WANTED)


def test_it_refuses_to_mix_two_versions_of_open_clip(tmp_path):
    import open_clip  # noqa: F401

    (tmp_path / CONFIG).parent.mkdir()
    (tmp_path / CONFIG).touch()
    (tmp_path / "open_clip" / "src").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="open_clip: expected the checkout's own"):
        build(tmp_path, **WANTED)


def test_text_embeddings_are_unit_and_the_same_every_time():
    first, again = text_embeddings(3), text_embeddings(3)
    assert first.shape == (3, 80, 640) and torch.equal(first, again)
    assert torch.allclose(first.norm(dim=-1), torch.ones(3, 80))
    wordings = first[0] @ first[0].T
    assert wordings.mean() > 2 * (first[0] @ first[1].T).abs().max()
