"""SAM-mini: the stock classes, official prompts, a file small enough to ship."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from stseg.modeling.encoders.sam import SAMImageEncoder, create_sam
from stseg.modeling.encoders.sam_mini import IMAGE_SIZE, PATCH_SIZE, PROMPT_DIM, build_sam_mini
from stseg.weights import resolve

LOW = 4 * IMAGE_SIZE // PATCH_SIZE
SHIPPED = "stseg://small_world/sam_mini.pt"


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    predictor = SamPredictor(create_sam("mini"))
    picture = np.random.default_rng(0).integers(0, 256, (96, IMAGE_SIZE, 3), dtype=np.uint8)
    predictor.set_image(picture)
    return predictor


@pytest.mark.parametrize(
    "prompt",
    [
        {"point_coords": np.array([[40, 30], [5, 5]]), "point_labels": np.array([1, 0])},
        {"box": np.array([10, 20, 60, 70])},
        {"mask_input": np.ones((1, LOW, LOW), np.float32)},
        {"box": np.array([10, 20, 60, 70]), "mask_input": np.ones((1, LOW, LOW), np.float32)},
    ],
    ids=["points", "box", "mask", "mask+box"],
)
def test_the_official_predictor_takes_every_kind_of_prompt(predictor, prompt):
    masks, ious, low = predictor.predict(**prompt)
    assert masks.shape == (3, 96, IMAGE_SIZE)
    assert masks.dtype == bool
    assert ious.shape == (3,)
    assert low.shape == (3, LOW, LOW)
    single = predictor.predict(**prompt, multimask_output=False)[0]
    assert single.shape == (1, 96, IMAGE_SIZE)


def test_the_embedding_has_its_own_width_and_stride():
    encoder = SAMImageEncoder(create_sam("mini").image_encoder, input_size=IMAGE_SIZE)
    shape = encoder.output_shape()["sam"]
    side = IMAGE_SIZE // PATCH_SIZE
    assert (shape.channels, shape.stride) == (PROMPT_DIM, PATCH_SIZE)
    assert encoder(torch.rand(2, 3, 40, 60) * 255)["sam"].shape == (2, PROMPT_DIM, side, side)


def test_sizes_are_multiples_of_its_own_patch():
    encoder = create_sam("mini").image_encoder
    assert SAMImageEncoder(encoder, input_size=3 * PATCH_SIZE).input_size == 3 * PATCH_SIZE
    with pytest.raises(ValueError, match=f"multiple of {PATCH_SIZE} pixels, got {PATCH_SIZE + 1}"):
        SAMImageEncoder(encoder, input_size=PATCH_SIZE + 1)


def test_a_half_precision_file_loads_into_single_precision(tmp_path):
    sam = build_sam_mini()
    state = {name: value.half() for name, value in sam.state_dict().items()}
    torch.save(state, tmp_path / "sam_mini.pt")
    loaded = create_sam("mini", str(tmp_path / "sam_mini.pt"))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[name].float(), rtol=0, atol=0)


def test_the_name_of_another_size_is_in_the_error(tmp_path):
    torch.save(build_sam_mini(depth=1, global_blocks=()).state_dict(), tmp_path / "sam.pt")
    with pytest.raises(ValueError, match=r"MODEL.SAM.CHECKPOINT.*'mini'"):
        create_sam("mini", str(tmp_path / "sam.pt"))


def test_the_shipped_file_is_small_and_loads():
    with open(resolve(SHIPPED), "rb") as file:
        assert file.seek(0, 2) <= 3.6e6
    sam = create_sam("mini", SHIPPED)
    assert sum(p.numel() for p in sam.parameters()) <= 1.8e6
    assert not sam.training
    assert all(torch.isfinite(p).all() for p in sam.parameters())
