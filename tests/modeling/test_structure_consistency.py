"""SSC: parity with EBSeg, and images without targets."""

import torch

from stseg.modeling.losses import structure_consistency
from tests.helpers.ebseg_parity import assert_near, tensor


def published(ebseg_fixture, images=(0, 1, 2)):
    """Leaf of embeddings, the chosen rows and their labels per image, and all arrays."""
    arrays = ebseg_fixture("ssc_loss")
    leaf = tensor(arrays["embeddings"]).requires_grad_()
    rows, labels = [], []
    for i in images:
        queries, targets = (tensor(arrays[f"match_{name}"][i]) for name in ("query", "target"))
        rows.append(leaf[i, queries[queries >= 0]])
        labels.append(tensor(arrays["labels"][i])[targets[targets >= 0]])
    return leaf, rows, labels, arrays


def test_loss_and_gradient_match(ebseg_fixture):
    leaf, rows, labels, arrays = published(ebseg_fixture)
    similarity = tensor(arrays["text_similarity"])
    loss = structure_consistency(rows, labels, similarity)
    assert_near(loss, arrays["loss"])
    loss.backward()
    assert_near(leaf.grad, arrays["grad_embeddings"])
    for i, expected in enumerate(arrays["loss_per_image"]):
        assert_near(structure_consistency(rows[i : i + 1], labels[i : i + 1], similarity), expected)


def test_an_image_without_targets_is_left_out(ebseg_fixture):
    """Published code gives 0 here, and no gradient, for the images that have targets too."""
    leaf, rows, labels, arrays = published(ebseg_fixture, images=[0])
    assert (arrays["loss_with_empty_image"] == 0).all()
    empty = leaf[1, :0], torch.zeros(0, dtype=torch.long)
    loss = structure_consistency(
        [*rows, empty[0]], [*labels, empty[1]], tensor(arrays["text_similarity"])
    )
    assert_near(loss, arrays["loss_per_image"][0])


def test_a_batch_without_targets_keeps_its_graph():
    leaf = torch.randn(2, 3, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    loss = structure_consistency([leaf[0, :0], leaf[1, :0]], [none, none], torch.eye(5))
    loss.backward()
    assert loss == 0 and leaf.grad.abs().sum() == 0


def test_bf16_embeddings_give_a_float32_loss():
    rows = torch.randn(3, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = structure_consistency([rows], [torch.tensor([0, 1, 1])], torch.eye(2))
    assert loss.dtype == torch.float32 and loss.isfinite()
