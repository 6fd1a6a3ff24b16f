import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stseg.modeling.scores.label_map import LabelMap
from stseg.predictor import Predictor, decide, image_array
from stseg.structures import Background, Vocabulary
from tests.helpers.colour_net import COLOURS, make_cfg
from tests.helpers.tiny_model import register, tiny_cfg


@pytest.fixture
def predictor():
    return Predictor(make_cfg())


def picture(height=4, width=6):
    """Left half red, right half blue."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, : width // 2] = COLOURS["red"]
    image[:, width // 2 :] = COLOURS["blue"]
    return image


def test_distractors_go_with_a_vocabulary_that_has_seen_marks(predictor):
    vocabulary = Vocabulary.parse("red; green", background=Background.distractors("blue"))
    result = predictor(picture(), vocabulary.with_seen("red"))
    assert result.label_map[0].tolist() == [0, 0, 0, -1, -1, -1]


def test_a_confidence_of_exactly_the_threshold_is_known():
    confidence = torch.tensor([[[0.25, 0.5, 0.75]]])
    found = LabelMap(torch.zeros(1, 1, 3, dtype=torch.int32), confidence)
    vocabulary = Vocabulary.parse("cat", background=Background.threshold(0.5))
    assert decide(found, vocabulary).label_map.tolist() == [[-1, 0, 0]]


def test_an_answer_keeps_its_picture(predictor):
    image = picture()
    predictor.set_image(image)
    results = [*predictor([image, image], "red; blue"), predictor.predict("red; blue")]
    assert all(np.array_equal(result.image, image) for result in results)


def test_label_map_holds_indices_in_the_order_given(predictor):
    result = predictor(picture(), "blue; green; crimson, red")
    assert result.names == ("blue", "green", "crimson")
    assert result.label_map.shape == (4, 6)
    assert result.label_map[0].tolist() == [2, 2, 2, 0, 0, 0]
    assert result.confidence.min() == 1.0


def test_string_list_and_vocabulary_give_the_same(predictor):
    forms = ["red; blue", ["red", "blue"], Vocabulary.parse("red; blue")]
    maps = [predictor(picture(), form).label_map for form in forms]
    assert all(np.array_equal(m, maps[0]) for m in maps)


def test_several_images_run_as_one_batch_and_keep_their_sizes(predictor):
    images = [picture(4, 6), Image.fromarray(picture(7, 3)), picture(1, 2)]
    results = predictor(images, "red; blue")
    assert [r.label_map.shape for r in results] == [(4, 6), (7, 3), (1, 2)]
    assert predictor.model.batches == [3]
    assert predictor([], "red") == []


def test_array_pillow_image_and_path_agree(predictor, tmp_path):
    path = tmp_path / "ünï.png"
    Image.fromarray(picture()).save(path)
    maps = [
        predictor(image, "red; blue").label_map
        for image in (picture(), Image.fromarray(picture()), path, str(path))
    ]
    assert all(np.array_equal(m, maps[0]) for m in maps)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_pillow_images_of_any_mode_are_seen(mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 6), 65535, dtype=np.uint16))
    else:
        image = Image.fromarray(np.full((4, 6, 3), 255, dtype=np.uint8)).convert(
            "L" if mode in ("I", "F") else mode
        )
        image = image.convert(mode)
    array = image_array(image)
    assert array.shape == (4, 6, 3) and array.dtype == np.uint8
    assert array.min() >= 250


def test_sixteen_bit_grey_is_scaled_and_transparent_parts_are_white():
    grey = np.array([[0, 32768, 65535]], dtype=np.uint16)
    assert image_array(Image.fromarray(grey))[0, :, 0].tolist() == [0, 128, 255]
    clear = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert image_array(clear)[0, 0].tolist() == [255, 255, 255]


def test_exif_orientation_is_applied(predictor, tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(picture(4, 6)).save(path, exif=exif)
    for image in (path, Image.open(path)):
        assert predictor(image, "red; blue").label_map[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 2), dtype=np.uint8),
        np.zeros((4, 6, 5), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
        np.zeros((4, 6, 3)),
        np.zeros((2, 4, 6, 3), dtype=np.uint8),
        np.zeros((0, 6, 3), dtype=np.uint8),
    ],
)
def test_array_of_another_kind_is_refused(predictor, image):
    with pytest.raises(ValueError, match=r"expected an array \(H, W, 3\) RGB"):
        predictor(image, "red")


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (4, 6, 1)])
def test_grey_arrays_are_taken(predictor, shape):
    grey = np.full(shape, 77, np.uint8)
    assert (image_array(grey) == 77).all() and image_array(grey).shape == (*shape[:2], 3)
    assert predictor(grey, "red; blue").label_map.shape == shape[:2]


def test_transparent_parts_of_arrays_are_white():
    array = np.dstack([picture(), np.array([[0, 255] * 3] * 4, np.uint8)])
    assert (image_array(array)[:, ::2] == 255).all()
    assert (image_array(array)[:, 1::2] == picture()[:, 1::2]).all()


def test_folders_and_patterns_give_a_list_in_the_order_of_names(predictor, tmp_path):
    for name, size in (("b.png", (4, 6)), ("a.png", (2, 6)), ("c.jpg", (8, 6))):
        Image.fromarray(picture(*size)).save(tmp_path / name)
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "note.txt").write_text("no picture")

    def heights(where):
        return [result.label_map.shape[0] for result in predictor(where, "red; blue")]

    assert heights(tmp_path) == heights(str(tmp_path)) == [2, 4, 8]
    assert heights(tmp_path / "*.png") == [2, 4]
    odd = tmp_path / "odd [1].png"
    Image.fromarray(picture()).save(odd)
    assert predictor(odd, "red; blue").label_map.shape == (4, 6)
    with pytest.raises(FileNotFoundError, match=r"Images: expected .*\*\.webp"):
        predictor(tmp_path / "*.webp", "red")
    with pytest.raises(FileNotFoundError, match=r"\*\.mp4', where only videos were found"):
        predictor(tmp_path / "*.mp4", "red")


def test_other_words_for_the_image_that_is_set(predictor):
    with pytest.raises(ValueError, match="Call set_image first"):
        predictor.predict("red")
    predictor.set_image(picture())
    for words in ("red; blue", "blue; green; red"):
        fresh = predictor(picture(), words)
        asked = predictor.predict(words)
        assert (asked.label_map == fresh.label_map).all() and asked.names == fresh.names
    predictor.set_image(picture(8, 6))
    assert predictor.predict("red").label_map.shape == (8, 6)


@pytest.mark.parametrize("windows", [False, True])
def test_encoders_run_once_for_an_image_that_is_set(windows, tmp_path):
    register(tmp_path)
    window = ["TEST.SLIDING_WINDOW.ENABLED", windows, "TEST.SLIDING_WINDOW.SIZE", [40, 40]]
    cfg = tiny_cfg(MODEL__WEIGHTS="random", INPUT__MIN_SIZE_TEST=64)
    cfg.merge_from_list(window)
    predictor = Predictor(cfg)
    seen = []
    for encoder in (predictor.model.image_encoder, predictor.model.sam_encoder):
        encoder.register_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    predictor.set_image(image)
    first = predictor.predict("sky; tree; road")
    calls = len(seen)
    background = Vocabulary.parse("sky; cat", background=Background.distractors("moon; road"))
    second = predictor.predict(background)
    assert len(seen) == calls == (2 * 7 if windows else 2)  # 2 x 3 and the whole
    for found, words in ((first, "sky; tree; road"), (second, background)):
        fresh = predictor(image, words)
        assert (found.label_map == fresh.label_map).all()
        assert (found.confidence == fresh.confidence).all()


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_broken_file_is_named(predictor, tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(OSError, match="broken.jpg"):
        predictor(path, "red")
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        predictor(tmp_path / "nowhere.jpg", "red")


def test_threshold_makes_unsure_pixels_unknown(predictor):
    image = picture()
    image[:, -1] = (90, 90, 90)
    vocabulary = Vocabulary.parse("red; blue", background=Background.threshold(0.9))
    result = predictor(image, vocabulary)
    assert result.label_map[0].tolist() == [0, 0, 0, 1, 1, -1]
    assert 0 < result.confidence[0, -1] < 0.9


def test_distractors_compete_and_their_pixels_become_unknown(predictor):
    vocabulary = Vocabulary.parse("red; green", background=Background.distractors("blue; white"))
    result = predictor(picture(), vocabulary)
    assert result.names == ("red", "green")
    assert result.label_map[0].tolist() == [0, 0, 0, -1, -1, -1]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**31))
def test_decision_agrees_with_plain_numpy(classes, extra, seed):
    scores = np.random.default_rng(seed).random((classes + extra, 3, 4)).astype(np.float32)
    names = [f"class {i}" for i in range(classes)]
    extras = [f"other {i}" for i in range(extra)]
    background = Background.distractors(extras) if extra else Background.threshold(0.7)
    found = LabelMap.of(torch.from_numpy(scores))
    result = decide(found, Vocabulary.parse(names, background=background))
    expected = scores.argmax(0)
    expected[expected >= classes] = -1
    if not extra:
        expected[scores.max(0) < np.float32(0.7)] = -1
    assert np.array_equal(result.label_map, expected)
    assert np.array_equal(result.confidence, scores.max(0))


def test_not_a_number_is_never_shown_as_a_label():
    scores = torch.full((2, 3, 3), float("nan"))
    with pytest.raises(FloatingPointError, match="MODEL.WEIGHTS"):
        decide(LabelMap.of(scores), Vocabulary.parse("a; b"))


def test_image_is_resized_as_in_evaluation_and_the_result_is_not():
    cfg = make_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 8, 100
    predictor = Predictor(cfg)
    seen = []
    predictor.model.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    predictor(picture(4, 6), "red")
    (item,) = seen
    assert item["image"].shape == (3, 8, 12) and (item["height"], item["width"]) == (4, 6)
    assert predictor(picture(), "red; blue").label_map.shape == (4, 6)


def test_given_weights_are_loaded_and_the_given_config_stays(tmp_path):
    cfg = make_cfg()
    cfg.freeze()
    path = tmp_path / "weights.pth"
    torch.save({"model": {"scale": torch.tensor(0.5)}}, path)
    predictor = Predictor(cfg, weights=str(path), device="cpu")
    assert predictor(picture(), "red").confidence.max() == 0.5
    assert cfg.MODEL.WEIGHTS == "random"


def test_wrong_or_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        Predictor(make_cfg(), weights="nowhere.pth")
    path = tmp_path / "wrong.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="wrong.pth"):
        Predictor(make_cfg(), weights=str(path))


def test_checkpoint_of_another_system_is_called_by_its_name(tmp_path):
    path = tmp_path / "sam.pth"
    keys = ("image_encoder.neck.0", "mask_decoder.x", "prompt_encoder.x")
    torch.save({key: torch.zeros(1) for key in keys}, path)
    with pytest.raises(ValueError, match="looks like SAM.*MODEL.SAM.CHECKPOINT"):
        Predictor(make_cfg(), weights=str(path))


def test_config_file_is_read_and_a_missing_one_named(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("MODEL:\n  META_ARCHITECTURE: ColourTestNet\n  WEIGHTS: random\n")
    predictor = Predictor(str(path), device="cpu")
    assert predictor(picture(), "red; blue").label_map.max() == 1
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        Predictor("nowhere.yaml")


def test_what_is_probably_not_meant_is_said_once(predictor, caplog):
    for _ in range(2):
        predictor(picture(), "red | blue")
    assert caplog.text.count("'red | blue' is ONE name") == 1
    predictor(picture(), "red; blue")
    assert "blue; " not in caplog.text
