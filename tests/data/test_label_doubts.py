"""An ignored value that stands for a class is noticed, and only then."""

import numpy as np
import pytest
from PIL import Image

from stseg.data import DoubtfulLabelsError, LabelDoubts, check_labels, coding_of
from stseg.data.label_doubts import doubts_about
from stseg.data.loaders import build_test_loader, build_train_loader
from stseg.data.readers import register_data
from stseg.structures import Vocabulary
from tests.helpers.tiny_data import write_pair


def doubts(num_classes, *files, **keys):
    """After label maps that hold these values."""
    names = [f"class {i}" for i in range(num_classes)]
    coding = coding_of(Vocabulary.from_names(names), where="m", **keys)
    found = LabelDoubts(coding, names)
    for values in files:
        found.add([v for v in values if v < num_classes], 255 in values)
    return found


@pytest.mark.parametrize(
    ("num_classes", "files", "table"),
    [
        (2, [[0, 255], [0]], "values=0:0,255:1"),
        (2, [[1, 255]], "values=1:1,255:0"),  # inverted: the ground is 255
        (2, [[0, 1], [0, 255], [0]], "values=0:0,1:1,255:1"),  # some files only
        (3, [[0, 1, 255], [0, 255]], "values=0:0,1:1,255:2"),
        (3, [[0, 1, 2], [0, 1, 255]], "values=0:0,1:1,2:2,255:2"),
        (3, [[0, 255]], "values=0:0,255:2"),  # a value between is missing, too
        (9, [[0, 255], [0]], "values=0:0,255:8"),
        (1, [[0, 255], [0]], "values=0:ignore,255:0"),  # the ground has no name
    ],
)
def test_255_in_the_place_of_a_class_is_doubtful(num_classes, files, table):
    found = doubts(num_classes, *files)
    assert found.is_doubtful and table in found.cure
    with pytest.raises(
        DoubtfulLabelsError, match="^here: expected 255 to mean 'no class'.*ignore=255"
    ):
        found.check("here")
    assert not doubts(num_classes, *files, ignore=[255]).is_doubtful


@pytest.mark.parametrize(
    ("num_classes", "files"),
    [
        (2, [[0, 1, 255], [0, 255]]),
        (2, [[0, 1], [0]]),
        (2, [[255], [255]]),  # nothing is labelled: another matter
        (3, [[0, 1, 2, 255], [0, 255]]),
        (4, [[0, 1, 255], [0, 2]]),
        (1, [[0], [0]]),
    ],
)
def test_pixels_without_a_class_are_left_in_peace(num_classes, files):
    assert not doubts(num_classes, *files).is_doubtful


def write_masks(root, values, count=60):
    for k in range(count):
        label = np.zeros((8, 8), np.uint8)
        label[2:5, 2:5] = values[k % len(values)]
        write_pair(root, f"{k:03d}", label)
    (root / "names.txt").write_text("ground\ncrack\n")


@pytest.mark.usefixtures("clean_catalog")
def test_loaders_refuse_such_masks_and_take_them_with_values(tmp_path, data_cfg):
    write_masks(tmp_path, [255], 3)
    register_data({"name": "masks", "path": str(tmp_path)})
    data_cfg.DATASETS.TRAIN = ("masks",)
    for build in (
        lambda: build_train_loader(data_cfg),
        lambda: build_test_loader(data_cfg, "masks"),
    ):
        with pytest.raises(DoubtfulLabelsError, match="Data set masks: .*crack in none"):
            build()
    register_data({"name": "said", "path": str(tmp_path), "values": "0:0,255:crack"})
    data_cfg.DATASETS.TRAIN = ("said",)
    assert 1 in next(iter(build_train_loader(data_cfg)))[0]["sem_seg"]


@pytest.mark.usefixtures("clean_catalog")
def test_one_class_alone_is_told(tmp_path, caplog):
    write_masks(tmp_path, [0], 3)
    register_data({"name": "masks", "path": str(tmp_path)})
    from detectron2.data import DatasetCatalog

    check_labels("masks", DatasetCatalog.get("masks"))
    assert "none of 3 label maps looked into holds crack" in caplog.text


def test_a_few_of_many_files_are_read_unless_there_is_doubt(tmp_path):
    coding = coding_of(Vocabulary.parse("ground; crack"), where="m")
    for name, values, looked in (("good", [1], 200), ("rare", [255] * 209 + [0], 210)):
        write_masks(tmp_path / name, values, 210)
        files = tuple(sorted(map(str, (tmp_path / name / "labels").iterdir())))
        assert doubts_about(files, coding, ("ground", "crack")).files == looked
    # The doubt is lifted by the file that holds both.
    both = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    both.save(files[1])
    assert not doubts_about((*files, files[1]), coding, ("ground", "crack")).is_doubtful
