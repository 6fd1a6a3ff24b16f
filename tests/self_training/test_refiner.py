"""Refinement end to end, against stock SamPredictor and with a decoder that echoes its prompt."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from stseg.modeling.encoders.sam import SAMImageEncoder, decoder_parts
from stseg.self_training.decoding import Prompt, best_of, decode
from stseg.self_training.frame import Frame
from stseg.self_training.refiner import PromptSettings, SamRefiner
from tests.helpers.sam_fakes import EchoMaskDecoder, EchoPromptEncoder
from tests.helpers.tiny_model import tiny_sam

DEFAULT = ("parts", "mask", "box", "points")
SETS = [("mask",), ("box",), ("points",), ("box", "points"), ("parts", "mask"), DEFAULT]


def echo(size, settings=None, **decoder):
    encoder = EchoPromptEncoder(size)
    refiner = SamRefiner(encoder, EchoMaskDecoder(**decoder), settings=settings)
    return refiner, torch.randn(1, 1, size // 16, size // 16)


def ellipse(height, width, x, y, radius_x, radius_y):
    rows, columns = np.mgrid[:height, :width]
    return ((columns - x) / radius_x) ** 2 + ((rows - y) / radius_y) ** 2 < 1


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.fixture(scope="module")
def sam():
    """A tiny SAM whose answers depend on image, place and prompt."""
    torch.manual_seed(3)
    sam = tiny_sam().eval()
    for parameter in sam.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return sam


@pytest.fixture(scope="module")
def predictor(sam):
    predictor = SamPredictor(sam)
    image = np.random.default_rng(0).integers(0, 256, (80, 128, 3), dtype=np.uint8)
    predictor.set_image(image)  # long side 128: the image is not resized
    return predictor


def questions(frame):
    rng = np.random.default_rng(1)
    for index in range(7):
        corners = np.sort(rng.uniform(0, (frame.width, frame.height), (2, 2)), 0)
        points = rng.uniform(0, (frame.width, frame.height), (1 + index % 2, 2))
        mask = rng.normal(0, 10, (1, frame.low, frame.low)).astype(np.float32)
        yield corners.reshape(4), points, [1, 0][: len(points)], mask


@pytest.mark.parametrize("kinds", [("box",), ("points",), ("mask",), ("box", "points", "mask")])
def test_batches_answer_as_a_loop_over_sam_predictor(sam, predictor, kinds):
    frame = Frame.padded(80, 128, 128)
    asked, expected = [], []
    for box, points, labels, mask in questions(frame):
        use = {
            "box": {"box": box},
            "points": {"point_coords": points, "point_labels": np.array(labels)},
            "mask": {"mask_input": mask},
        }
        expected.append(predictor.predict(**{k: v for kind in kinds for k, v in use[kind].items()}))
        asked.append(
            Prompt(
                points=frame.points(points) if "points" in kinds else None,
                labels=tuple(labels) if "points" in kinds else (),
                box=frame.boxes(box) if "box" in kinds else None,
                mask=mask[0] if "mask" in kinds else None,
            )
        )
    encoder, decoder = decoder_parts(sam, 128)
    seen = []
    with torch.inference_mode():
        for indices, logits, ious in decode(encoder, decoder, predictor.features, asked, 3):
            assert len(indices) <= 3
            masks = frame.to_image(best_of(logits, ious)[0]) > 0
            for row, index in enumerate(indices):
                their_masks, their_ious, their_logits = expected[index]
                np.testing.assert_allclose(ious[row], their_ious, atol=1e-4)
                np.testing.assert_allclose(logits[row], their_logits, atol=1e-3)
                differ = masks[row].numpy() != their_masks[their_ious.argmax()]
                assert differ.mean() < 1e-3
                assert their_masks.any()
                seen.append(index)
    assert sorted(seen) == list(range(len(asked)))


def test_refining_asks_sam_what_a_person_would(sam, predictor):
    """The whole way from mask to mask, each prompt made by hand in SamPredictor's own terms."""
    frame = Frame.padded(80, 128, 128)
    masks = np.stack([ellipse(80, 128, 40, 30, 20, 15), ellipse(80, 128, 90, 50, 25, 20)])
    settings = PromptSettings(("box", "points"), min_iou_with_initial=0.0, box_rounds=0)
    refiner = SamRefiner(*decoder_parts(sam, 128), settings=settings)
    refined = refiner.refine(predictor.features, frame, masks)
    for result, (x, y, left, top, right, bottom) in zip(
        refined, [(40, 30, 21, 16, 59, 44), (90, 50, 66, 31, 114, 69)], strict=True
    ):
        # The corners of an ellipse's box are all equally far; the first one is taken.
        theirs, ious, _ = predictor.predict(
            point_coords=np.array([[x, y], [left, top]]),
            point_labels=np.array([1, 0]),
            box=np.array([left, top, right, bottom]),
        )
        assert (result.mask != theirs[ious.argmax()]).mean() < 1e-3
        assert result.predicted_iou == pytest.approx(np.clip(ious.max(), 0, 1), abs=1e-4)


@pytest.mark.parametrize("kinds", SETS)
def test_neither_batch_size_nor_company_changes_a_mask(sam, predictor, kinds):
    frame = Frame.padded(80, 128, 128)
    masks = np.stack(
        [
            np.ones((80, 128), bool),  # no negative point
            ellipse(80, 128, 40, 30, 20, 15),
            np.zeros((80, 128), bool),
            ellipse(80, 128, 20, 60, 10, 15) | ellipse(80, 128, 100, 20, 18, 15),
        ]
    )
    alone = PromptSettings(kinds, batch_size=1, min_iou_with_initial=0.0)
    together = PromptSettings(kinds, batch_size=8, min_iou_with_initial=0.0)
    parts = decoder_parts(sam, 128)
    batched = SamRefiner(*parts, settings=together).refine(predictor.features, frame, masks)
    for k, result in enumerate(batched):
        single = SamRefiner(*parts, settings=alone)
        (expected,) = single.refine(predictor.features, frame, masks[k : k + 1])
        assert (result.mask != expected.mask).mean() < 1e-3
        assert result.predicted_iou == pytest.approx(expected.predicted_iou, abs=1e-4)


@pytest.mark.parametrize("size", [768, 1024])
@pytest.mark.parametrize("make", [Frame.stretched, Frame.padded])
@pytest.mark.parametrize("kinds", [("mask",), DEFAULT])
def test_masks_come_back_where_they_were(make, size, kinds):
    refiner, embedding = echo(size, PromptSettings(kinds, min_iou_with_initial=0.0))
    masks = np.stack(
        [
            ellipse(100, 180, 130, 30, 30, 20),
            ellipse(100, 180, 20, 80, 30, 30),  # at the border
            ellipse(100, 180, 50, 30, 20, 15) | ellipse(100, 180, 140, 70, 30, 20),
            np.ones((100, 180), bool),
        ]
    )
    refined = refiner.refine(embedding, make(100, 180, size), masks)
    for result, mask in zip(refined, masks, strict=True):
        assert iou(result.mask, mask) > 0.95
        assert result.predicted_iou == pytest.approx(0.8)


def test_a_shift_in_the_decoder_would_be_seen():
    settings = PromptSettings(("mask",), min_iou_with_initial=0.0)
    mask = ellipse(100, 180, 130, 30, 30, 20)[None]
    for dims in ((2,), (3,)):
        refiner, embedding = echo(
            768, settings, change=lambda logits, dims=dims: torch.roll(logits, 3, dims)
        )
        (result,) = refiner.refine(embedding, Frame.stretched(100, 180, 768), mask)
        assert iou(result.mask, mask[0]) < 0.95


def test_boxes_and_points_reach_sam_in_its_own_pixels():
    refiner, embedding = echo(768, PromptSettings(box_rounds=0))
    mask = np.zeros((1, 100, 180), bool)
    mask[0, 20:41, 90:131] = True
    mask[0, 20:25, 90:110] = False
    refiner.refine(embedding, Frame.stretched(100, 180, 768), mask)
    ((points, labels), boxes, masks) = refiner.prompt_encoder.asked[0]
    scale = np.array([768 / 180, 768 / 100])
    np.testing.assert_allclose(boxes[0].reshape(2, 2), [[90, 20], [130, 40]] * scale, rtol=1e-5)
    assert labels.tolist() == [[1, 0]]
    assert mask[0][tuple((points[0, 0].numpy() / scale)[::-1].round().astype(int))]
    np.testing.assert_allclose(points[0, 1], [90, 20] * scale, rtol=1e-5)
    assert masks.shape == (1, 1, 192, 192)


def test_a_thin_line_is_kept_as_it_was():
    refiner, embedding = echo(1024, PromptSettings())
    mask = np.zeros((1, 1024, 1024), bool)
    mask[0, 500, 100:900] = True
    (result,) = refiner.refine(embedding, Frame.padded(1024, 1024, 1024), mask)
    assert (result.mask == mask[0]).all()  # a cell is 4 pixels: SAM's answer is no line
    assert len(refiner.prompt_encoder.asked) == 1


def test_an_empty_mask_stays_empty_and_asks_nothing():
    refiner, embedding = echo(64)
    (result,) = refiner.refine(embedding, Frame.padded(30, 64, 64), np.zeros((1, 30, 64), bool))
    assert not result.mask.any()
    assert result.predicted_iou == 0.0
    assert refiner.prompt_encoder.asked == []
    assert refiner.refine(embedding, Frame.padded(30, 64, 64), np.zeros((0, 30, 64), bool)) == []


def test_many_parts_are_joined_again():
    refiner, embedding = echo(256, PromptSettings(max_parts=6, min_part_share=0.0, batch_size=4))
    mask = np.zeros((1, 240, 256), bool)
    for index in range(8):
        size = 20 + index
        top, left = (index // 4) * 100 + 10, (index % 4) * 60 + 8
        mask[0, top : top + size, left : left + size] = True
    (result,) = refiner.refine(embedding, Frame.padded(240, 256, 256), mask)
    dropped = mask[0] & ~result.mask
    assert sum(len(masks) for _, _, masks in refiner.prompt_encoder.asked) == 6
    assert 20**2 + 21**2 - 40 < dropped.sum() < 20**2 + 21**2 + 200
    assert (result.mask & ~mask[0]).sum() < 0.05 * mask.sum()


def test_a_mask_that_flees_its_prompt_is_not_believed():
    mask = ellipse(100, 180, 130, 30, 30, 20)[None]
    frame = Frame.stretched(100, 180, 256)
    for settings, believed in (
        (PromptSettings(), False),
        (PromptSettings(("box", "mask"), min_iou_with_initial=0.0), True),
    ):
        refiner, embedding = echo(256, settings, change=torch.neg)
        (result,) = refiner.refine(embedding, frame, mask)
        assert iou(result.mask, ~mask[0] if believed else mask[0]) > 0.95
        if not believed:
            assert result.predicted_iou < 0.3  # it shall lose against masks that SAM confirms


@pytest.mark.parametrize(("ratings", "share"), [((0.9, 0.5, 0.1), 0.0), ((0.1, 0.5, 1.3), 1.0)])
def test_the_answer_of_the_best_predicted_iou_is_taken(ratings, share):
    settings = PromptSettings(min_iou_with_initial=0.0)
    refiner, embedding = echo(256, settings, ratings=ratings)
    mask = ellipse(100, 180, 130, 30, 30, 20)[None]
    (result,) = refiner.refine(embedding, Frame.padded(100, 180, 256), mask)
    assert result.mask.mean() == share
    assert result.predicted_iou == pytest.approx(min(max(ratings), 1.0))


@pytest.mark.parametrize("size", [64, 128, 192])
def test_other_input_sizes_have_positions_and_masks_of_their_own(sam, size):
    encoder, decoder = decoder_parts(sam, size)
    assert encoder.get_dense_pe().shape == (1, 16, size // 16, size // 16)
    assert not any(p.requires_grad for p in (*encoder.parameters(), *decoder.parameters()))
    assert sam.prompt_encoder.input_image_size == (128, 128)
    embedding = SAMImageEncoder(sam.image_encoder, input_size=size)(torch.rand(1, 3, 50, 70) * 255)
    refiner = SamRefiner(encoder, decoder)
    masks = ellipse(50, 70, 30, 20, 12, 9)[None]
    (result,) = refiner.refine(embedding["sam"], Frame.stretched(50, 70, size), masks)
    assert result.mask.shape == (50, 70)
    with pytest.raises(ValueError, match=r"INPUT_SIZE.*16"):
        decoder_parts(sam, size + 1)


def test_a_place_is_the_same_place_at_every_input_size(sam):
    """Half way across is half way across, whatever the number of pixels."""
    tokens = []
    for size in (64, 128):
        encoder, _ = decoder_parts(sam, size)
        middle = torch.full((1, 1, 2), size / 2 - 0.5), torch.ones(1, 1)
        tokens.append(encoder(points=middle, boxes=None, masks=None)[0][:, 0])
    torch.testing.assert_close(*tokens)


def test_a_decoder_in_half_precision_takes_any_embedding():
    torch.manual_seed(0)
    encoder, decoder = decoder_parts(tiny_sam().to(torch.bfloat16), 128)
    refiner = SamRefiner(encoder, decoder)
    masks = ellipse(80, 128, 40, 30, 20, 15)[None]
    for dtype in (torch.float32, torch.bfloat16):
        embedding = torch.randn(1, 16, 8, 8, dtype=dtype)
        (result,) = refiner.refine(embedding, Frame.padded(80, 128, 128), masks)
        assert result.mask.any()


def test_a_broken_decoder_is_named():
    refiner, embedding = echo(64, ratings=(0.1, float("nan"), 0.2))
    with pytest.raises(FloatingPointError, match="MODEL.SAM.CHECKPOINT"):
        refiner.refine(embedding, Frame.padded(30, 64, 64), np.ones((1, 30, 64), bool))


def test_what_does_not_fit_is_refused(sam):
    refiner, embedding = SamRefiner(*decoder_parts(sam, 128)), torch.zeros(1, 16, 8, 8)
    masks = np.zeros((1, 80, 128), bool)
    with pytest.raises(ValueError, match=r"SAM embedding.*\(1, C, 8, 8\)"):
        refiner.refine(torch.zeros(1, 16, 4, 4), Frame.padded(80, 128, 128), masks)
    with pytest.raises(ValueError, match=r"Frame.*128"):
        refiner.refine(embedding, Frame.padded(80, 128, 64), masks)
    with pytest.raises(ValueError, match=r"Initial masks.*\(K, 80, 128\)"):
        refiner.refine(embedding, Frame.padded(80, 128, 128), masks[0])
    with pytest.raises(ValueError, match="uint8"):
        refiner.refine(embedding, Frame.padded(80, 128, 128), masks.astype(np.uint8))
    for kinds in ((), ("parts",), ("mask", "boxes")):
        with pytest.raises(ValueError, match="PROMPTS"):
            PromptSettings(kinds)
    with pytest.raises(ValueError, match="MIN_IOU"):
        PromptSettings(min_iou_with_initial=1.5)
    with pytest.raises(ValueError, match="BATCH_SIZE"):
        PromptSettings(batch_size=-1)
