"""Every script on real downloads gives the peers' maps, pixel for pixel. Needs ../shared.

The exceptions, one by one:

1. Of ADE20K full the samples are training images, which the peers' scripts leave out; their maps
   were made with that rule lifted, and lie below "validation". Ours lie below "training".
2. We write more than there is to compare with: VOC-21 (checked against the raw ids here).
3. Cityscapes has no real sample, the zero-shot splits and the training splits of VOC and
   PASCAL-Context have none either: `test_benchmarks` has constructed ones.
"""

import io

import numpy as np
import pytest
from PIL import Image

from stseg.tools.preparation.command import main
from tests.helpers.raw_trees import TREES, files_below

REAL = [name for name in TREES if name != "prepare_cityscapes.py"]
#: Script: where its maps lie below data/prepared, and how many there are.
GOLDEN = {
    "prepare_coco_stuff.py": (("coco-stuff/annotations_detectron2/",), 14),
    "prepare_ade20k_150.py": (("ADEChallengeData2016/",), 2),
    "prepare_ade20k_full.py": (("ADE20K_2021_17_01/",), 4),
    "prepare_pascal_context_59.py": (("VOCdevkit/VOC2010/annotations_detectron2/pc59",), 3),
    "prepare_pascal_context_459.py": (("VOCdevkit/VOC2010/annotations_detectron2/pc459",), 3),
    "prepare_voc.py": (("VOCdevkit/VOC2012/",), 6),
}


def pixels(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


@pytest.fixture(params=REAL, ids=lambda name: name.removesuffix(".py"))
def case(request, shared_dir):
    """Benchmark, flags naming the real samples, and the peers' files under our names."""
    root = shared_dir / "data" / "real"
    places, count = GOLDEN[request.param]
    prepared = shared_dir / "data" / "prepared"
    golden = {
        path.replace("_detectron2/validation/ADE_train_", "_detectron2/training/ADE_train_"): data
        for place in places
        for path, data in files_below(prepared).items()
        if path.startswith(place)
    }
    assert len(golden) == count
    return TREES[request.param][0], ["--root", str(root)], golden


def test_the_maps_are_those_of_the_peers_to_the_pixel(case, tmp_path):
    benchmark, flags, golden = case
    assert main(benchmark, [*flags, "--out", str(tmp_path), "--jobs", "1"]) == 0
    written = files_below(tmp_path)
    for path, content in golden.items():
        ours, theirs = pixels(written[path]), pixels(content)
        assert ours.dtype == theirs.dtype, path
        np.testing.assert_array_equal(ours, theirs, err_msg=path)
    more = {path.rsplit("/", 2)[0] for path in written.keys() - golden.keys()}
    assert more <= {
        "coco-stuff/annotations_detectron2_base",
        "ADE20K_2021_17_01/annotations_detectron2_base",
        "VOCdevkit/VOC2012/annotations_detectron2_21",
    }


def test_a_second_run_and_four_jobs_give_the_same_bytes(case, tmp_path):
    benchmark, flags, _ = case
    one, four = tmp_path / "one", tmp_path / "four"
    assert main(benchmark, [*flags, "--out", str(one), "--jobs", "1"]) == 0
    first = files_below(one)
    assert main(benchmark, [*flags, "--out", str(one), "--jobs", "1", "--force"]) == 0
    assert main(benchmark, [*flags, "--out", str(four), "--jobs", "4"]) == 0
    assert first == files_below(one) == files_below(four)


def test_the_check_accepts_what_the_peers_prepared(case, tmp_path, capsys):
    benchmark, flags, golden = case
    for path, content in golden.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    main(benchmark, [*flags, "--out", str(tmp_path), "--check"])
    told = capsys.readouterr().out.splitlines()[:-1]
    assert all(line.endswith(": missing") for line in told)
    assert not set(golden) & {line.split(": ")[0] for line in told}


def test_voc_21_keeps_the_raw_ids(shared_dir, tmp_path):
    root = shared_dir / "data" / "real"
    main(TREES["prepare_voc.py"][0], ["--root", str(root), "--out", str(tmp_path), "--jobs", "1"])
    raw = sorted((root / "VOCdevkit/VOC2012/SegmentationClassAug").glob("*.png"))
    assert len(raw) == 3
    for path in raw:
        ours = tmp_path / "VOCdevkit/VOC2012/annotations_detectron2_21/val" / path.name
        np.testing.assert_array_equal(np.array(Image.open(ours)), np.array(Image.open(path)))
