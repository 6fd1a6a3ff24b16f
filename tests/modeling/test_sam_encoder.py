"""SAM's image encoder: any square size, frozen, official files."""

from copy import deepcopy

import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional as F

from stseg.modeling.encoders.sam import SAMImageEncoder, create_sam
from tests.helpers.tiny_model import SAM_NAME, tiny_sam


def randomised(sam):
    """Positions start at zero in segment_anything, where no test could miss them."""
    torch.manual_seed(0)
    torch.nn.init.normal_(sam.image_encoder.pos_embed)
    return sam


def test_at_its_own_size_it_is_sams_encoder():
    sam = randomised(tiny_sam()).eval()
    image = torch.randint(0, 256, (128, 128, 3), dtype=torch.uint8).numpy()
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    encoder = SAMImageEncoder(sam.image_encoder, input_size=128)
    ours = encoder(torch.from_numpy(image).permute(2, 0, 1)[None].float())["sam"]
    torch.testing.assert_close(ours, predictor.features)


@pytest.mark.parametrize("shape", [(128, 90), (51, 128), (128, 128)])
def test_padded_images_go_in_as_sam_prepares_them(shape):
    sam = randomised(tiny_sam()).eval()
    image = torch.rand(3, *shape) * 255
    ours = SAMImageEncoder(sam.image_encoder, input_size=128).encode_padded(image)
    with torch.no_grad():
        wanted = sam.image_encoder(sam.preprocess(image[None]))
    torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (200, 310), (1, 300)])
def test_padding_keeps_the_aspect_and_lies_right_and_below(shape):
    seen = []
    sam = tiny_sam().image_encoder
    sam.patch_embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder = SAMImageEncoder(sam, input_size=96)
    encoder.encode_padded(torch.full((3, *shape), 255, dtype=torch.uint8))
    height, width = (max(1, n) for n in ResizeLongestSide.get_preprocess_shape(*shape, 96))
    (images,) = seen
    assert images.shape == (1, 3, 96, 96)
    white = ((255 - encoder.pixel_mean) / encoder.pixel_std).expand(3, height, width)
    torch.testing.assert_close(images[0, :, :height, :width], white)
    assert not images[..., height:, :].any() and not images[..., width:].any()


@pytest.mark.parametrize("size", [64, 96, 192])
def test_other_sizes_give_maps_of_size_over_16(size):
    encoder = SAMImageEncoder(randomised(tiny_sam()).image_encoder, input_size=size)
    out = encoder(torch.rand(2, 3, 50, 70) * 255)["sam"]
    assert out.shape == (2, 16, size // 16, size // 16)
    assert encoder.output_shape()["sam"].channels == 16


def test_at_another_size_positions_are_interpolated_not_cut():
    encoder = randomised(tiny_sam()).eval().image_encoder
    side = encoder.pos_embed.shape[1]
    larger = deepcopy(encoder)
    cells = encoder.pos_embed.detach().permute(0, 3, 1, 2)
    cells = F.interpolate(cells, (2 * side, 2 * side), mode="bicubic", align_corners=False)
    larger.pos_embed = torch.nn.Parameter(cells.permute(0, 2, 3, 1))
    size = 2 * side * encoder.patch_embed.proj.stride[0]
    images = torch.rand(1, 3, size, size) * 255
    found, expected = (SAMImageEncoder(e, input_size=size)(images) for e in (encoder, larger))
    torch.testing.assert_close(found, expected)


def test_it_is_frozen_and_never_in_training_mode():
    encoder = SAMImageEncoder(tiny_sam().image_encoder, input_size=64).train()
    assert not encoder.training
    assert not encoder.encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    image = (torch.rand(1, 3, 64, 64) * 255).requires_grad_()
    assert not encoder(image)["sam"].requires_grad


def test_official_files_load_and_wrong_ones_are_named(tmp_path):
    torch.save(tiny_sam().state_dict(), tmp_path / "sam.pth")
    loaded = create_sam(SAM_NAME, str(tmp_path / "sam.pth"))
    saved = torch.load(tmp_path / "sam.pth", weights_only=True)
    torch.testing.assert_close(loaded.image_encoder.pos_embed, saved["image_encoder.pos_embed"])
    with pytest.raises(ValueError, match=r"MODEL.SAM.CHECKPOINT.*vit_b"):
        create_sam("vit_b", str(tmp_path / "sam.pth"))
    with pytest.raises(FileNotFoundError, match="MODEL.SAM.CHECKPOINT"):
        create_sam(SAM_NAME, str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("size", [0, -16, 100])
def test_sizes_that_are_no_multiple_of_the_patch_are_refused(size):
    with pytest.raises(ValueError, match=r"MODEL.SAM.INPUT_SIZE.*16"):
        SAMImageEncoder(tiny_sam().image_encoder, input_size=size)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"MODEL.SAM.NAME.*vit_b"):
        create_sam("vit_x")


def test_the_three_official_sizes_are_known():
    assert {"vit_b", "vit_l", "vit_h"} <= set(sam_model_registry)


def stream_of(sam, images):
    """The residual stream after each block of stock SAM, and its neck's output."""
    seen = []
    hooks = [block.register_forward_hook(lambda _, __, x: seen.append(x)) for block in sam.blocks]
    neck = sam(images)
    for hook in hooks:
        hook.remove()
    return [x.permute(0, 3, 1, 2) for x in seen], neck


def test_blocks_with_global_attention_are_given_where_they_are_asked_for():
    sam = tiny_sam().image_encoder
    encoder = SAMImageEncoder(sam, input_size=128, outputs=("global_0", "sam"))
    images = torch.rand(2, 3, 128, 128) * 255
    with torch.no_grad():
        stream, neck = stream_of(sam, (images - encoder.pixel_mean) / encoder.pixel_std)
    found = encoder(images)
    assert list(found) == ["global_0", "sam"]
    torch.testing.assert_close(found["global_0"], stream[1])  # the second of two blocks is global
    torch.testing.assert_close(found["sam"], neck)
    shapes = encoder.output_shape()
    assert {k: shape.channels for k, shape in shapes.items()} == {"global_0": 32, "sam": 16}
    assert not any(x.requires_grad for x in found.values())
    alone = SAMImageEncoder(tiny_sam().image_encoder, input_size=64, outputs=("global_0",))
    assert alone(images)["global_0"].shape == (2, 32, 4, 4)


def test_a_gradient_reaches_what_is_asked_to_train_and_nothing_else():
    encoder = SAMImageEncoder(
        tiny_sam().image_encoder, input_size=64, outputs=("global_0",), trained=("pos_embed",)
    ).train()
    assert not encoder.training
    images = torch.rand(1, 3, 64, 64) * 255
    encoder(images)["global_0"].sum().backward()
    learning = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert learning == {"encoder.pos_embed"} and encoder.encoder.pos_embed.grad.abs().sum() > 0
    with torch.no_grad():
        assert not encoder(images)["global_0"].requires_grad
    frozen = SAMImageEncoder(tiny_sam().image_encoder, input_size=64)
    assert not frozen(images)["sam"].requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": ("global_1",)}, r"outputs: expected some of \('sam', 'global_0'\), got"),
        ({"outputs": ()}, "outputs: expected some of"),
        ({"trained": ("pos_emb",)}, "trained: expected parameters of SAM's image encoder"),
    ],
)
def test_what_sam_does_not_have_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        SAMImageEncoder(tiny_sam().image_encoder, input_size=64, **options)
