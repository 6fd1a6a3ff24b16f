"""The training of CLIP-photo's text tower, and the file that it leaves."""

import pytest
import torch
from torch.nn import functional as F

from stseg.engine import run_training
from stseg.modeling.encoders import create_clip, wrap_image_tower
from stseg.photo_clip.noun_judging import judge
from stseg.photo_clip.noun_tower import MODEL_NAME
from stseg.photo_clip.nouns import held_out_names
from stseg.photo_clip.recipe import NounRecipe
from stseg.photo_clip.trunk import class_space, read_trunk

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
    assert {word.lower() for word, _ in trainer._told}.isdisjoint(out)


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


def test_cells_are_projected_features_of_pixels_scaled_as_the_network_learnt_them(run):
    _, out = run
    clip = create_clip(MODEL_NAME, str(out / "clip_photo.pt"))
    space = class_space(read_trunk()[0], 512)
    encoder = wrap_image_tower(clip.visual, finetune="none").eval()
    image = 255 * torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        dense = encoder(image)["dense"]
        features = encoder.visual.trunk.forward_features(image / 127.5 - 1)
    expected = torch.einsum("bchw,dc->bdhw", features, space.directions)
    torch.testing.assert_close(dense, expected, atol=5e-3, rtol=1e-3)


def test_the_space_has_orthonormal_directions_and_unit_vectors():
    space = class_space(read_trunk()[0], 64)
    torch.testing.assert_close(
        space.directions @ space.directions.T, torch.eye(64), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(space.vectors.norm(dim=1), torch.ones(1000))


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
