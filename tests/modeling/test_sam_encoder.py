"""SAM's image encoder: any square size, frozen, official files."""

import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry

from stseg.modeling.encoders.sam import SAMImageEncoder, create_sam, resize_positions
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


@pytest.mark.parametrize("size", [64, 96, 192])
def test_other_sizes_give_maps_of_size_over_16(size):
    encoder = SAMImageEncoder(randomised(tiny_sam()).image_encoder, input_size=size)
    out = encoder(torch.rand(2, 3, 50, 70) * 255)["sam"]
    assert out.shape == (2, 16, size // 16, size // 16)
    assert encoder.output_shape()["sam"].channels == 16


def test_positions_are_interpolated_not_cut():
    positions = torch.arange(8.0)[None, None, :, None].expand(1, 8, 8, 1)
    half = resize_positions(positions, 4)
    assert half.shape == (1, 4, 4, 1)
    assert half[0, 0].flatten().tolist() == pytest.approx([0.5, 2.5, 4.5, 6.5], abs=0.2)
    assert resize_positions(positions, 8) is positions


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
