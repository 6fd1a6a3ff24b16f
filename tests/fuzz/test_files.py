"""Broken pictures, labels, names, weights, configs and JSON files."""

import io
import json

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_tensors

from stseg.checkpoint import read_checkpoint
from stseg.config import setup_cfg
from stseg.data import image_size, read_image, read_label
from stseg.data.readers.coco_instances import read_coco
from stseg.data.readers.labelme import read_labelme
from stseg.evaluation import read_results
from stseg.structures import Segmentation, Vocabulary

from .broken import answer, mended_png, mutated, seeded, seeds, words

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (24, 32, 3), np.uint8)
LABELS = RNG.integers(0, 3, (24, 32), np.uint8)


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


PICTURES = {
    "png": encoded(PIXELS, "PNG"),
    "jpg": encoded(
        PIXELS, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"
    ),
    "tif": encoded(PIXELS, "TIFF"),
    "webp": encoded(PIXELS, "WEBP"),
    "gif": encoded(PIXELS, "GIF"),
    "bmp": encoded(PIXELS, "BMP"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("suffix", PICTURES)
def test_pictures(folder, suffix):
    path = folder / f"a.{suffix}"

    @seeded(250)
    @given(seeds, st.booleans())
    def every(seed, mend):
        content = mutated(PICTURES[suffix], seed)
        content = mended_png(content) if mend and suffix == "png" else content
        path.write_bytes(content)
        pixels = answer(read_image, path)
        if pixels is not None:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert answer(image_size, path) == pixels.shape[:2]
        assert path.read_bytes() == content

    every()


def test_labels(folder):
    path, good = folder / "label.png", encoded(LABELS, "PNG")

    @seeded(800)
    @given(seeds, st.booleans())
    def every(seed, mend):
        content = mutated(good, seed)
        path.write_bytes(mended_png(content) if mend else content)
        labels = answer(read_label, path, 3, (255,))
        if labels is not None:
            assert labels.ndim == 2 and -1 <= labels.min() <= labels.max() < 3

    every()


@seeded(1200)
@given(words)
def test_words(text):
    vocabulary = answer(Vocabulary.parse, text)
    if vocabulary is not None:
        assert len(vocabulary) == len(vocabulary.names) > 0
        assert all(name.strip() for group in vocabulary.synonyms for name in group)


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_files_of_names(folder, suffix):
    path = folder / f"names.{suffix}"
    good = {"txt": "cat, kitten\ndog\nsky # no comment\n", "json": json.dumps(
        {"classes": ["cat", ["dog", "hound"], "sky"], "seen": ["cat"], "ignore": 255})}  # fmt: skip

    @seeded(300)
    @given(seeds, words)
    def every(seed, text):
        content = mutated(good[suffix].encode(), seed)
        path.write_bytes(content if seed % 3 else text.encode("utf-8", "surrogatepass"))
        answer(Vocabulary.parse, str(path))

    every()


STATE = {"head.weight": torch.arange(600.0).view(20, 30), "head.bias": torch.arange(20.0)}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_were_damaged_are_refused_or_whole(folder, suffix):
    path, buffer = folder / f"model.{suffix}", io.BytesIO()
    torch.save({"model": STATE, "iteration": 3}, buffer)
    good = buffer.getvalue() if suffix == "pth" else save_tensors(STATE)

    @seeded(1200)
    @given(seeds)
    def every(seed):
        content = mutated(good, seed)
        path.write_bytes(content)
        found = answer(read_checkpoint, str(path))
        if found is not None and suffix == "pth":  # safetensors has no checksum
            state = found["model"]
            assert all(name in STATE and torch.equal(state[name], STATE[name]) for name in state)

    every()


def test_configs(folder):
    path = folder / "config.yaml"
    good = yaml.safe_dump({
        "MODEL": {"META_ARCHITECTURE": "STSeg", "DEVICE": "cpu", "CLIP": {"NAME": "ViT-B-16"}},
        "SOLVER": {"BASE_LR": 0.1, "MAX_ITER": 3}, "INPUT": {"MIN_SIZE_TRAIN": [64]},
    })  # fmt: skip
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)
        ),
        max_leaves=5,
    )
    keys = st.sampled_from(
        ["SOLVER", "MODEL", "INPUT", "DATASETS", "OUTPUT_DIR", "VERSION", "_BASE_"]
    )

    @seeded(700)
    @given(seeds, st.dictionaries(keys, values, max_size=3))
    def every(seed, content):
        text = yaml.safe_dump(content).encode() if seed % 2 else mutated(good.encode(), seed)
        path.write_bytes(text)
        answer(setup_cfg, str(path))
        assert path.read_bytes() == text

    every()


LABELME = {
    "version": "5.0.0", "imagePath": "a.png", "imageHeight": 24, "imageWidth": 32,
    "imageData": None,
    "shapes": [{"label": "cat", "points": [[1, 1], [20, 2], [9, 20]], "shape_type": "polygon"}],
}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 24, "width": 32}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 9,
                     "bbox": [1, 1, 9, 9], "segmentation": [[1, 1, 20, 2, 9, 20]]}],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["labelme", "coco", "results", "segmentation"])
def test_json(folder, kind):
    place = folder / kind
    place.mkdir(exist_ok=True)
    (place / "a.png").write_bytes(PICTURES["png"])
    path = place / "a.json"
    if kind == "segmentation":
        Segmentation(LABELS.astype(np.int32), np.ones(LABELS.shape), ("a", "b", "c")).save(
            place, "b"
        )
        good = (place / "b.json").read_text()
    else:
        good = json.dumps({"labelme": LABELME, "coco": COCO, "results": {"format": "x"}}[kind])
    readers = {
        "labelme": lambda: read_labelme("mine", place, place),
        "coco": lambda: read_coco("mine", place, path),
        "results": lambda: read_results(path),
        "segmentation": lambda: Segmentation.load(path),
    }

    @seeded(150)
    @given(seeds)
    def every(seed):
        path.write_bytes(mutated(good.encode(), seed))
        answer(readers[kind])

    every()
