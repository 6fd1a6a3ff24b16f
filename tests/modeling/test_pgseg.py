"""PGSeg as a whole: recorded arrays, what it learns from, how a class without words wins."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import stseg
from stseg.checkpoint import Checkpointer
from stseg.config import setup_cfg
from stseg.data import build_vocabulary
from stseg.modeling import build_model
from stseg.modeling.layers import Projector
from stseg.modeling.meta_arch import PGSeg
from stseg.modeling.meta_arch.rest_thresholds import PUBLISHED, published_threshold
from stseg.modeling.scores import LabelMap, probabilities
from stseg.modeling.text import CaptionTextEncoder, ClassEmbeddings, TextPrototypes
from stseg.self_training import build_self_training
from stseg.structures import Vocabulary
from tests.helpers.pgseg_image import (
    assert_close,
    load,
    pgseg_arrays,
    tiny_encoder,
    weights,
)
from tests.helpers.pgseg_image import our_name as our_image_name
from tests.helpers.pgseg_text import our_text_name, text_state
from tests.helpers.tiny_model import tiny_pgseg_cfg

SHIPPED = Path(stseg.__file__).parents[1] / "configs"
CONFIGS = [path for k in ("pgseg/*", "mini/*_pgseg") for path in sorted(SHIPPED.glob(f"{k}.yaml"))]
WORDS = Vocabulary.parse("sky; tree, bush; cat; road; moon; car; hill")


# --- recorded ---


def recorded_model(arrays, form="released", **settings):
    """The tiny network that the arrays are of."""
    torch.manual_seed(0)
    text_encoder = CaptionTextEncoder(
        lambda texts: arrays["token_ids"],
        projector=Projector(128, 48, 24),
        width=128,
        heads=2,
        layers=1,
        context_length=12,
        vocab_size=60,
    )
    load(text_encoder, text_state(arrays))
    model = PGSeg(
        image_encoder=tiny_encoder(arrays, moves=form == "intended"),
        projector=load(Projector(32, 48, 24), weights(arrays, part="image_projector.")),
        text_encoder=text_encoder,
        text_prototypes=TextPrototypes(width=128, centre_width=32, hidden=48, form=form),
        form=form,
        image_size=(64, 64),
        **settings,
    )
    with torch.no_grad():
        model.log_scale.copy_(arrays["param:log_inv_temperature_contrastive"])
        model.prototype_log_scale.copy_(arrays["param:vision.log_inv_temperature_prototype"])
    # Arrays are of normalised images.
    model.image_encoder.pixel_mean.zero_()
    model.image_encoder.pixel_std.fill_(1.0)
    return model


@pytest.mark.parametrize("threshold", [None, 0.3, 0.95])
def test_a_wide_image_is_answered_as_recorded(shared_dir, threshold):
    arrays = pgseg_arrays(shared_dir, "tiny_model")
    recorded = pgseg_arrays(shared_dir, "inference")
    model = recorded_model(arrays, image_size_test=(64, 96), rest_thresh=threshold or 0.0).eval()
    with torch.no_grad():
        model.log_scale.copy_(recorded["log_scale"])
        features = model.encode([recorded["image"][0]])
        texts = recorded["class_embeddings"]
        embeddings = ClassEmbeddings(texts[:, None], torch.arange(7), 7)
        vocabulary = WORDS
        if threshold is not None:
            vocabulary = replace(Vocabulary.parse(["rest", *WORDS.names]), rest=0)
        (scores,) = model.score(features, embeddings, vocabulary)
    assert_close(features.tensors["group_embeds"], arrays["wide_group_embeddings"])
    assert_close(features.tensors["image_embeds"], arrays["wide_image_embedding"])
    shares = arrays["wide_patch_to_final_group"].mT.unflatten(2, (8, 12))
    assert_close(features.tensors["cell_shares"], shares)
    source = scores.at((64, 96))
    ending = "nobg_0.3" if threshold is None else f"bg_{threshold}"
    assert_close(probabilities(source), recorded[f"scores_{ending}"])
    assert torch.equal(LabelMap.read(source).labels.long(), recorded[f"labels_{ending}"].long())


@pytest.fixture
def step(shared_dir):
    """The recorded step of training: arrays, model and losses."""
    arrays = pgseg_arrays(shared_dir, "tiny_model")
    recorded = pgseg_arrays(shared_dir, "tiny_model_train")
    model = recorded_model(arrays).train()
    _undo_move(model, recorded["after:text.prototypes"])
    noise = [recorded[f"noise_stage{k}"][:, 0] for k in (0, 1)]
    encoder, forward = model.image_encoder, model.image_encoder.forward
    encoder.forward = lambda images: forward(images, noise)
    batch = [
        {"image": image, "vocabulary": WORDS, "caption": "as recorded"} for image in arrays["image"]
    ]
    return recorded, model, model(batch)


def _undo_move(model, after):
    """The buffer of texts before the step, of which only that behind it was recorded."""
    prototypes = model.text_prototypes.eval()
    with torch.no_grad():
        said = model.text_encoder.encode_captions(["one", "two"])
        prototypes.buffer.copy_(after)
        for _ in range(100):
            mean = prototypes(said).mean(0, keepdim=True)
            prototypes.buffer.copy_((after - 0.1 * mean) / 0.9)
    prototypes.train()


def test_losses_of_a_step_are_those_recorded(step):
    recorded, _, losses = step
    published = {
        "loss_contrastive": recorded["loss_contrastive"],
        "loss_image_0": 0.1 * recorded["loss_image_stage0"],
        "loss_image_1": 0.1 * recorded["loss_image_stage1"],
        "loss_text": 0.01 * recorded["loss_text"],
    }
    assert set(losses) == set(published)
    for name, value in published.items():
        assert losses[name].item() == pytest.approx(value.item(), abs=1e-4), name


def test_gradients_of_a_step_are_as_long_as_recorded(step):
    recorded, model, losses = step
    sum(losses.values()).backward()
    checked = set()
    gradients = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    for key, length in recorded.items():
        if not key.startswith("gradnorm:"):
            continue
        name = _our_name(key.removeprefix("gradnorm:"))
        assert gradients[name] == pytest.approx(length.item(), rel=1e-3, abs=2e-4), key
        checked.add(name)
    assert checked == set(gradients)


def _our_name(name):
    fixed = {
        "log_inv_temperature_contrastive": "log_scale",
        "vision.log_inv_temperature_prototype": "prototype_log_scale",
    }
    if name in fixed:
        return fixed[name]
    if name.startswith("text"):
        return f"text_encoder.{our_text_name(name)}"
    name = our_image_name(name)
    is_projector = name.startswith("image_projector.")
    return name.removeprefix("image_") if is_projector else f"image_encoder.{name}"


# --- what it learns from ---


def tiny(**changes):
    torch.manual_seed(0)
    return PGSeg(tiny_pgseg_cfg(**changes))


def pairs(*captions, size=(32, 32)):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
            "vocabulary": WORDS,
            "caption": caption,
        }
        for caption in captions
    ]


def test_captions_are_all_that_pgseg_learns_from():
    batch = pairs("a cat", "the moon above a hill")
    torch.manual_seed(1)
    first = tiny().train()(batch)
    for item in batch:
        item["sem_seg"] = torch.zeros(32, 32, dtype=torch.int64)
    torch.manual_seed(1)
    second = tiny().train()(batch)
    assert set(first) == {"loss_contrastive", "loss_image_0", "loss_image_1", "loss_text"}
    del batch[1]["caption"]
    with pytest.raises(ValueError, match="expected 'caption', a text.* got it in 1 of 2 inputs"):
        tiny().train()(batch)
    assert set(second) == set(first)


def test_two_pairs_are_learnt_by_heart():
    model = tiny(MODEL__PGSEG__DROP_PATH=0.0).train()
    batch = pairs("a cat", "the moon above a hill", "a red car", "nothing but sky")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    torch.manual_seed(0)
    found = []
    for _ in range(40):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found.append(losses["loss_contrastive"].item())
    assert found[-1] < 0.3 * found[0]


@pytest.mark.parametrize("form", ["intended", "released"])
def test_what_is_off_has_no_loss_and_no_parameters(form):
    key = "MODEL__PGSEG__PROTOTYPES__"
    without = tiny(**{f"{key}ENABLED": False, f"{key}FORM": form}).train()
    assert set(without(pairs("a cat", "a dog"))) == {"loss_contrastive"}
    assert not [name for name, _ in without.named_parameters() if "prototype" in name]
    image = tiny(**{f"{key}TEXT_WEIGHT": 0.0, f"{key}FORM": form}).train()
    assert set(image(pairs("a cat", "a dog"))) == {
        "loss_contrastive",
        "loss_image_0",
        "loss_image_1",
    }
    assert image.text_prototypes is None


@pytest.mark.parametrize("form", ["intended", "released"])
@pytest.mark.parametrize("weights", [(0.1, 0.01), (0.0, 0.01), (0.1, 0.0), (0.0, 0.0)])
def test_whatever_asks_for_a_gradient_gets_one(form, weights):
    """Or several processes would wait for it."""
    key = "MODEL__PGSEG__PROTOTYPES__"
    chosen = {f"{key}IMAGE_WEIGHT": weights[0], f"{key}TEXT_WEIGHT": weights[1]}
    model = tiny(**chosen, **{f"{key}FORM": form}).train()
    sum(model(pairs("a cat", "a dog", "the moon")).values()).backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent


def test_rounds_of_pseudo_labels_are_refused_before_any_is_made():
    model = tiny()
    with pytest.raises(ValueError, match=r"SELF_TRAINING.ENABLED: expected .*got PGSeg, which"):
        build_self_training(tiny_pgseg_cfg(MODEL__LOSS__IGNORED="masked"), model)


# --- the class without words ---


def test_thresholds_are_those_published_for_the_words_of_a_benchmark():
    for stem, level in PUBLISHED.items():
        assert published_threshold(build_vocabulary(stem)) == level
    assert published_threshold(build_vocabulary("voc_21")) is None
    assert PUBLISHED == {"voc_21_rest": 0.95, "pascal_context_60": 0.36, "coco_object_81": 0.85}


def test_the_key_of_the_threshold_comes_before_those_published():
    vocabulary = build_vocabulary("voc_21_rest")
    (item,) = pairs("")
    item |= {"vocabulary": vocabulary, "height": 32, "width": 32}
    shares = []
    for thresh in (0.0, -1.0, 1.0):
        model = tiny(MODEL__PGSEG__REST_THRESH=thresh).eval()
        with torch.no_grad():
            shares.append((model.label_maps([item])[0].labels == 0).float().mean().item())
    assert shares[0] == 0.0 and shares == sorted(shares)


# --- files ---


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_builds_and_runs(path):
    torch.manual_seed(0)
    model = build_model(setup_cfg(str(path), ["MODEL.DEVICE", "cpu"]))
    assert isinstance(model, PGSeg)
    side = model.image_size[0]
    losses = model.train()(pairs("a cat", "a dog", size=(side, side)))
    assert len(losses) == 4 and all(loss.isfinite() for loss in losses.values())
    (item,) = pairs("", size=(side, side + 24))
    with torch.no_grad():
        (answer,) = model.eval()([item])
    assert answer["sem_seg"].shape == (len(WORDS), side, side + 24)
    assert (answer["sem_seg"] >= 0).all() and answer["sem_seg"].amax(0).min() > 0


def test_files_with_another_text_level_are_loaded_without_it(tmp_path, caplog):
    released = tiny(MODEL__PGSEG__PROTOTYPES__FORM="released")
    path = tmp_path / "released.pth"
    torch.save({"model": released.state_dict()}, path)
    intended = tiny()
    torch.nn.init.zeros_(intended.projector.out.weight)
    kept = intended.text_prototypes.buffer.clone()
    with caplog.at_level("INFO"):
        Checkpointer(intended, str(tmp_path)).load(str(path))
    assert torch.equal(intended.projector.out.weight, released.projector.out.weight)
    assert torch.equal(intended.text_prototypes.buffer, kept)
    assert "text_prototypes. left out, which only losses use" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("IMAGE_SIZE", [32, 40], "two equal multiples of MODEL.PGSEG.PATCH_SIZE 8, got"),
        ("IMAGE_SIZE_TEST", [32, 36], "expected multiples of MODEL.PGSEG.PATCH_SIZE 8, got"),
    ],
)
def test_sizes_are_whole_patches(key, value, message):
    with pytest.raises(ValueError, match=message):
        tiny(**{f"MODEL__PGSEG__{key}": value})
