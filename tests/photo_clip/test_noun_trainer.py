"""The training of CLIP-photo's text tower, and the file that it leaves."""

import pytest
import timm
import torch
from torch.nn import functional as F

from stseg.engine import run_training
from stseg.modeling.encoders import PHOTO_TRUNK, create_clip, wrap_image_tower
from stseg.photo_clip.noun_judging import judge
from stseg.photo_clip.noun_tower import MODEL_NAME
from stseg.photo_clip.nouns import held_out_names
from stseg.photo_clip.recipe import NounRecipe
from stseg.photo_clip.trunk import class_vectors, read_trunk

pytestmark = pytest.mark.usefixtures("photos_extra")
RECIPE = NounRecipe(steps=3, classes=6, told=4, nouns=6, warmup=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training of three steps, and its trainer."""
    from stseg.photo_clip.noun_trainer import NounTrainer

    out = tmp_path_factory.mktemp("nouns")
    trainer = NounTrainer(RECIPE, "cpu")
    run_training(trainer, out, eval_period=2, count=2)
    return trainer, out


def test_names_that_are_held_out_are_nowhere_in_what_it_reads(run):
    trainer, _ = run
    out = held_out_names(RECIPE.held_out, RECIPE.seed)
    read = {name.lower() for noun in (*trainer._classes, *trainer._nouns) for name in noun.names}
    assert read.isdisjoint(out)
    assert {word.lower() for word in trainer._words}.isdisjoint(out)


def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(run, tmp_path):
    from stseg.photo_clip.noun_trainer import NounTrainer

    trainer, _ = run
    first = NounTrainer(RECIPE, "cpu")
    first.run_step()
    saved = first.state_dict()
    second = NounTrainer(RECIPE, "cpu")
    second.load_state_dict(saved)
    for _ in range(2):
        second.run_step()
    for ours, theirs in zip(second.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_exported_is_the_tower_and_the_trunk_of_the_package(run):
    trainer, out = run
    path = out / "clip_photo.pt"
    assert path.stat().st_size < 5_000_000
    clip = create_clip(MODEL_NAME, str(path)).eval()
    trunk, _ = read_trunk()
    assert torch.equal(clip.visual.trunk.conv_stem.weight, trunk["conv_stem.weight"])
    texts = ["a photo of a tabby cat.", "zyzzyva"]  # the second has rare tokens
    with torch.no_grad():
        tokens = trainer.average.tokenizer(texts)
        found = F.normalize(clip.encode_text(tokens), dim=-1)
        torch.testing.assert_close(found, trainer.average(texts), atol=2e-3, rtol=0)


def test_a_cell_is_the_mean_of_the_classes_that_the_network_sees_in_it(run):
    trainer, out = run
    clip = create_clip(MODEL_NAME, str(out / "clip_photo.pt"))
    trunk, _ = read_trunk()
    vectors = F.normalize(trainer.average.vectors.detach())
    network = timm.create_model(PHOTO_TRUNK, pretrained=False).eval()
    network.load_state_dict(trunk)
    encoder = wrap_image_tower(clip.visual, finetune="none").eval()
    image = 255 * torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense = encoder(image)["dense"]
        cells = network.forward_features(image / 127.5 - 1).permute(0, 2, 3, 1)
        shares = network.classifier(cells).softmax(-1)
    expected = (shares @ vectors).permute(0, 3, 1, 2)
    torch.testing.assert_close(dense, expected, atol=1e-3, rtol=0)


def test_class_vectors_have_length_1_and_keep_the_angles_between_classes():
    trunk, _ = read_trunk()
    vectors = class_vectors(trunk, 512)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1000))
    weight = trunk["classifier.weight"]
    whole = F.normalize(weight - weight.mean(0))
    found = torch.stack([(vectors @ vectors.T).flatten(), (whole @ whole.T).flatten()])
    assert torch.corrcoef(found)[0, 1] > 0.95


def test_judging_counts_from_one_and_tells_helped_names_from_those_alone():
    vectors = torch.eye(1000)
    said = {"tench": {4: 1.0, 9: 0.9, 0: 0.5}, "hen": {8: 1.0}}  # their classes are 0 and 8

    def tower(texts):
        near = next((x for name, x in said.items() if name in texts[0].split(" of ")[-1]), {})
        return sum((v * vectors[k] for k, v in near.items()), torch.zeros(1000)).expand(
            len(texts), -1
        )

    figures = judge(tower, vectors, {"tench", "hen"}, 2)
    assert figures["names"] == 2
    assert figures["held_out"] == (1 + 3) / 2
    assert figures["with_other_name"] == 3  # Tinca tinca was kept, the hen has one name only
    assert figures["alone"] == 1
    assert figures["top10"] == 1
