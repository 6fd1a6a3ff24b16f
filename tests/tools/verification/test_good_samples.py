"""The real samples, as prepared by the reference scripts, must pass: no heuristic may fire."""

import pytest

from stseg.data.datasets import SPECS, data_root
from tests.helpers.planted import check, codes
from tests.helpers.real_root import link_real_root

# Nothing of these lies among the samples.
NOT_THERE = {spec.name for spec in SPECS if not spec.label_dir}


@pytest.fixture(scope="module")
def real_root(shared_dir, tmp_path_factory):
    return link_real_root(tmp_path_factory.mktemp("real"), shared_dir)


@pytest.mark.parametrize("name", [s.name for s in SPECS if s.label_dir])
def test_the_real_samples_pass(real_root, monkeypatch, name):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(real_root))
    report = check(name, jobs=2, decode=True)
    if report.absent:
        pytest.skip(f"no sample of {name} in {data_root()}")
    assert codes(report) == []
    assert report.num_checked == report.num_images > 0
    notes = {finding.code for finding in report.findings}
    assert notes == {"too-few-images"}


def test_the_raw_samples_do_not_pass_as_prepared_ones(real_root, monkeypatch, tmp_path):
    raws = {
        "coco_2017_train_stuff_all_sem_seg": ("coco-stuff/annotations", "unprepared-coco"),
        "ade20k_150_test_sem_seg": ("ADEChallengeData2016/annotations", "raw-copies"),
        "voc_2012_test_sem_seg": ("VOCdevkit/VOC2012/SegmentationClassAug", "other-voc-maps"),
    }
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name, (raw, code) in raws.items():
        spec = next(spec for spec in SPECS if spec.name == name)
        image_dir, label_dir = tmp_path / spec.image_dir, tmp_path / spec.label_dir
        split = "" if "VOC" in raw else label_dir.name
        for link, source in (
            (image_dir, real_root / spec.image_dir),
            (label_dir, real_root / raw / split),
            (tmp_path / raw / split, real_root / raw / split),
        ):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source, target_is_directory=True)
        assert codes(check(name)) == [code]
