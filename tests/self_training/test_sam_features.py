"""Embeddings on disk: exact, never another's, and no reason for a run to fail."""

import logging

import pytest
import torch

from stseg.modeling.encoders.sam import SAMImageEncoder
from stseg.self_training import sam_features
from stseg.self_training.sam_features import SamFeatures, pixels_digest
from stseg.utils import disk_cache
from tests.helpers.tiny_model import tiny_sam


class Counted(SAMImageEncoder):
    """Knows how many images it has computed."""

    computed = 0

    def _compute(self, images):
        self.computed += len(images)
        return super()._compute(images)


def make_encoder(seed=0, size=64):
    torch.manual_seed(seed)
    return Counted(tiny_sam().image_encoder, input_size=size)


@pytest.fixture
def images():
    return torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1)) * 255


def cached(folder, encoder, images, features=None):
    """Embeddings by way of a folder, as a new process would get them."""
    with (features or SamFeatures(folder)).used_by(encoder):
        return encoder(images)["sam"]


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def filled(tmp_path, images):
    """A folder that knows the first image, and that image's embedding."""
    return cached(tmp_path, make_encoder(), images[:1])


def test_what_is_read_is_what_was_computed_to_the_last_bit_and_stride(tmp_path, images):
    plain = make_encoder()(images[:1])["sam"]
    first, second = make_encoder(), make_encoder()
    computed = cached(tmp_path, first, images[:1])
    read = cached(tmp_path, second, images[:1])
    assert torch.equal(computed, plain) and torch.equal(read, plain)
    assert read.stride() == plain.stride() and read.dtype == plain.dtype
    assert (first.computed, second.computed) == (1, 0)


def test_every_image_of_a_batch_is_looked_up_by_itself(tmp_path, images, filled):
    encoder = make_encoder()
    with SamFeatures(tmp_path).used_by(encoder):
        both = encoder(images[:2])["sam"]
        again = encoder(images[[1, 0, 1]])["sam"]
    assert encoder.computed == 1
    assert torch.equal(both[:1], filled)
    assert torch.equal(again, both[[1, 0, 1]])


def test_a_file_holds_one_image_not_its_batch(tmp_path, images, filled):
    alone = files_of(tmp_path)[0].stat().st_size
    cached(tmp_path, make_encoder(), images)
    sizes = [p.stat().st_size for p in files_of(tmp_path)]
    assert len(sizes) == 3 and max(sizes) == alone


def test_another_input_size_has_entries_of_its_own(tmp_path, images, filled):
    other = make_encoder(size=32)
    plain = make_encoder(size=32)(images[:1])["sam"]
    assert torch.equal(cached(tmp_path, other, images[:1]), plain)
    assert other.computed == 1 and plain.shape != filled.shape


def test_both_frames_and_mirrored_copies_have_entries_of_their_own(tmp_path, images):
    image = images[0]
    for _ in range(2):
        encoder = make_encoder()
        plain = [encoder(image[None])["sam"], encoder(image[None].flip(-1))["sam"]]
        plain.append(encoder.encode_padded(image))
        with SamFeatures(tmp_path).used_by(encoder):
            found = [encoder(image[None])["sam"], encoder(image[None].flip(-1))["sam"]]
            found.append(encoder.encode_padded(image))
        assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    assert encoder.computed == 3  # by the plain ones
    assert len(files_of(tmp_path)) == 3


@pytest.mark.parametrize("changes", [{"seed": 1}, {"size": 96}])
def test_other_weights_or_another_size_share_nothing(tmp_path, images, filled, changes):
    encoder = make_encoder(**changes)
    found = cached(tmp_path, encoder, images[:1])
    assert encoder.computed == 1
    assert torch.equal(found, make_encoder(**changes)(images[:1])["sam"])


def test_weights_changed_in_place_are_noticed(tmp_path, images):
    encoder, features = make_encoder(), SamFeatures(tmp_path)
    cached(tmp_path, encoder, images[:1], features)
    with torch.no_grad():
        encoder.encoder.patch_embed.proj.weight.mul_(2)
    found = cached(tmp_path, encoder, images[:1], features)
    assert torch.equal(found, encoder(images[:1])["sam"])


def test_one_changed_pixel_is_another_image():
    image = torch.zeros(1, 3, 8, 8)
    changed = image.clone()
    changed[0, 2, 7, 7] = 1e-6
    digests = {pixels_digest(x) for x in (image, changed, image.double(), image.view(1, 3, 4, 16))}
    assert len(digests) == 4
    assert pixels_digest(image.to(memory_format=torch.channels_last)) == pixels_digest(image)


def test_half_precision_is_kept_as_it_is(tmp_path):
    features = SamFeatures(tmp_path)
    encoder = make_encoder()
    for _ in range(2):
        with features.used_by(encoder):
            found = encoder._ask(torch.ones(1, 3, 8, 8), lambda x: x.bfloat16() / 3)
        assert torch.equal(found, torch.ones(1, 3, 8, 8).bfloat16() / 3)


def test_outside_nothing_is_read_or_written_even_after_a_failure(tmp_path, images):
    encoder = make_encoder()
    with pytest.raises(KeyError), SamFeatures(tmp_path).used_by(encoder):
        raise KeyError
    encoder(images)
    assert not files_of(tmp_path)


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda c: b"", lambda c: bytes(len(c))])
def test_a_damaged_file_is_computed_and_written_again(tmp_path, images, filled, damage, caplog):
    (path,) = files_of(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    encoder = make_encoder()
    assert torch.equal(cached(tmp_path, encoder, images[:1]), filled)
    assert encoder.computed == 1
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert str(path) in line and "computing again" in line
    assert path.read_bytes() == content


@pytest.mark.parametrize("number", [28, 30, 13])  # no space, read-only, no permission
def test_a_folder_that_cannot_be_written_costs_one_warning(
    tmp_path, images, filled, monkeypatch, caplog, number
):
    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(disk_cache, "write_atomically", refuse)
    encoder, features = make_encoder(), SamFeatures(tmp_path)
    for _ in range(2):
        found = cached(tmp_path, encoder, images, features)
    assert encoder.computed == 4  # the first image is still read
    assert torch.equal(found[:1], filled)
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "refused" in line and "going on without" in line
    assert len(files_of(tmp_path)) == 1


def test_a_folder_that_is_a_file_is_told_once(tmp_path, images, caplog):
    path = tmp_path / "file"
    path.write_text("mine")
    encoder = make_encoder()
    assert torch.equal(cached(path, encoder, images[:1]), make_encoder()(images[:1])["sam"])
    assert sum("going on without" in r.getMessage() for r in caplog.records) == 1
    assert path.read_text() == "mine"


def test_home_and_variables_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH_OF_RUN", "there")
    assert SamFeatures("~/$SCRATCH_OF_RUN/sam").folder == tmp_path / "there" / "sam"


def test_the_log_says_what_was_saved(tmp_path, images, filled, caplog):
    with caplog.at_level(logging.INFO, sam_features.__name__):
        cached(tmp_path, make_encoder(), images)
    assert "1 embeddings read, 2 computed" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_embeddings_come_back_to_it(tmp_path, images):
    for expected in (1, 0):
        encoder = make_encoder().to("cuda")
        found = cached(tmp_path, encoder, images[:1].to("cuda"))
        assert found.device.type == "cuda" and encoder.computed == expected
    torch.testing.assert_close(found, make_encoder().to("cuda")(images[:1].to("cuda"))["sam"])
