"""PGSeg's image encoder: against the published one's arrays, and what any weights keep to."""

import pytest
import torch
from timm.layers import DropPath

from stseg.modeling.encoders import GroupingTransformer, cell_shares
from stseg.modeling.layers import Projector
from tests.helpers.pgseg_image import assert_close, load, pgseg_arrays, tiny_encoder, weights


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return pgseg_arrays(shared_dir, "tiny_model")


@torch.no_grad()
def test_features_are_the_published_ones(arrays):
    features = tiny_encoder(arrays).eval()(arrays["image"])
    for stage in (0, 1):
        for ours, theirs in (("soft", "assign_soft"), ("centres", "centres"),
                             ("prototypes", "prototypes")):  # fmt: skip
            assert_close(features[f"{ours}_{stage}"], arrays[f"stage{stage}_{theirs}"])
        hard = arrays[f"stage{stage}_assign_hard"].argmax(dim=1)
        assert torch.equal(features[f"soft_{stage}"].argmax(dim=1), hard)
    shares = cell_shares(features["soft_0"], features["soft_1"])
    assert_close(shares, arrays["patch_to_final_group"].transpose(1, 2))
    assert_close(features["groups"], arrays["final_groups"])


@torch.no_grad()
def test_a_wide_image_has_the_published_features(arrays):
    features = tiny_encoder(arrays).eval()(arrays["wide_image"])
    shares = cell_shares(features["soft_0"], features["soft_1"])
    assert_close(shares, arrays["wide_patch_to_final_group"].transpose(1, 2))
    projector = load(Projector(32, 48, 24), weights(arrays, part="image_projector.")).eval()
    assert_close(projector(features["groups"]), arrays["wide_group_embeddings"])
    assert_close(projector(features["groups"].mean(dim=1)), arrays["wide_image_embedding"])


def test_a_step_of_training_leaves_the_published_buffers(arrays, shared_dir):
    step = pgseg_arrays(shared_dir, "tiny_model_train")
    encoder = tiny_encoder(arrays).train()
    noise = [step[f"noise_stage{stage}"].squeeze(1) for stage in (0, 1)]
    features = encoder(arrays["image"], noise=noise)
    projector = load(Projector(32, 48, 24), weights(arrays, part="image_projector.")).train()
    projector(features["groups"].mean(dim=1))
    state = encoder.state_dict()
    state |= {f"image_projector.{key}": x for key, x in projector.state_dict().items()}
    after = weights(step, prefix="after:")
    names = [key for key in after if not key.startswith("text")]
    assert len(names) == 8
    for name in names:  # those of the projector depend on every choice
        assert_close(state[name], after[name])
    assert_close(features["prototypes_0"], arrays["stage0_prototypes"])


def small(**settings):
    """Of weights that tell inputs apart."""
    torch.manual_seed(0)
    encoder = tiny_encoder(**settings)
    for parameter in encoder.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return encoder


def some_images(count=2, size=(64, 64)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def copied_state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


@torch.no_grad()
def test_sizes_mix_and_an_image_knows_no_other():
    encoder = small().eval()
    before = copied_state(encoder)
    first = encoder(some_images())
    for size in ((32, 96), (8, 8), (128, 64)):
        features = encoder(some_images(1, size))
        assert features["soft_0"].shape == (1, 16, size[0] * size[1] // 64)
        assert features["groups"].shape == (1, 8, 32)
        assert all(torch.isfinite(x).all() for x in features.values())
    alone = encoder(some_images()[1:])
    for key, value in first.items():
        assert torch.allclose(alone[key], value[1:], atol=1e-5), key
    after = encoder.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@torch.no_grad()
def test_shares_of_a_cell_sum_to_one():
    features = small().eval()(some_images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shares = cell_shares(features["soft_0"], features["soft_1"])
    assert shares.shape == (2, 8, 64) and (shares >= 0).all()
    assert torch.allclose(shares.sum(dim=1), torch.ones(2, 64), atol=1e-5)


@pytest.mark.parametrize("moves", [True, False])
def test_training_moves_buffers_alone(moves):
    encoder = small(moves=moves).train()
    before = copied_state(encoder)
    encoder(some_images())
    moved = {key for key, x in encoder.state_dict().items() if not torch.equal(x, before[key])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = {f"stages.{i}.prototypes.map.norm.{name}" for i in (0, 1) for name in statistics}
    expected |= {f"stages.{i}.prototypes.buffer" for i in (0, 1) if moves}
    assert moved == expected


def test_every_parameter_learns_and_prototypes_do_not():
    encoder = small(drop_path=0.1).train()
    torch.manual_seed(0)
    features = encoder(some_images(8))
    assert not any(features[f"prototypes_{i}"].requires_grad for i in (0, 1))
    features["groups"].square().mul(torch.rand(8, 8, 32)).sum().backward()
    assert not [name for name, p in encoder.named_parameters() if not p.grad.any()]


def test_low_precision_is_finite():
    encoder = small()
    for mode in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = encoder.train(mode)(some_images())
        assert all(torch.isfinite(x).all() for x in features.values())
        assert features["soft_0"].dtype == features["prototypes_1"].dtype == torch.float32


def test_black_images_are_finite_and_learn():
    encoder = small().train()
    features = encoder(torch.zeros(2, 3, 64, 64))
    features["groups"].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_stochastic_depth_grows_over_all_blocks():
    encoder = tiny_encoder(drop_path=0.3)
    rates = [x.drop_prob for x in encoder.modules() if isinstance(x, DropPath)]
    assert rates == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])  # none in the first block


def test_later_group_tokens_start_with_those_that_are_carried():
    encoder = tiny_encoder()
    assert not encoder.stages[1].group_tokens.any()
    first = encoder.stages[0].group_tokens[0]
    assert len({tuple(row) for row in first.tolist()}) == 16


def test_pixels_are_normalised_by_those_of_imagenet():
    encoder = tiny_encoder()
    assert encoder.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert encoder.pixel_std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


def test_an_image_of_part_of_a_patch_is_refused():
    with pytest.raises(ValueError, match="multiples of 8 pixels, the patch, got 64 x 60"):
        tiny_encoder()(some_images(size=(64, 60)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 100}, "image_size: expected a multiple of the patch of 16"),
        ({"num_heads": 5}, "width: expected a multiple of 5 heads, got 384"),
        ({"depths": (6, 3)}, r"depths: expected 3 numbers of blocks, .*got \(6, 3\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GroupingTransformer(**settings)
