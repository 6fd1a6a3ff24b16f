import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stseg.evaluation.label_images import LabelPair, pair_folders, read_pair
from tests.helpers.label_folders import save

MAP = np.array([[0, 1, 2], [2, 1, 255]], dtype=np.uint8)


def folders(tmp_path, pred, gt):
    for folder, names in (("pred", pred), ("gt", gt)):
        for name in names:
            save(tmp_path / folder / name, MAP)
    return tmp_path / "pred", tmp_path / "gt"


def test_files_pair_by_their_path_without_suffix(tmp_path):
    true = ["b.png", "x/a.tiff", "y/a.png", "a.1.png"]
    pred, gt = folders(tmp_path, ["b.tif", "x/a.png", "y/a.PNG", "a.1.png"], true)
    pairs = pair_folders(pred, gt)
    assert [pair.name for pair in pairs] == ["a.1", "b", "x/a", "y/a"]
    assert pairs[1] == LabelPair("b", pred / "b.tif", gt / "b.png")


def test_overlays_tables_and_hidden_files_may_lie_beside(tmp_path):
    pred, gt = folders(tmp_path, ["a.png", "._a.png", ".cache/b.png"], ["a.png"])
    (pred / "a.json").write_text("{}")
    save(pred / "a_overlay.jpg", MAP)
    assert [pair.name for pair in pair_folders(pred, gt)] == ["a"]


@pytest.mark.parametrize(
    ("pred", "gt", "said"),
    [
        (["a.png"], ["a.png", "b.png"], r"pred: expected a prediction for every label.*b\.png"),
        (["a.png", "b.tif"], ["a.png"], r"gt: expected a label for every prediction.*b\.tif"),
    ],
)
def test_a_file_without_its_partner_is_named(tmp_path, pred, gt, said):
    with pytest.raises(ValueError, match=said):
        pair_folders(*folders(tmp_path, pred, gt))


def test_many_missing_files_do_not_fill_the_screen(tmp_path):
    pred, gt = folders(tmp_path, ["0.png"], [f"{k}.png" for k in range(9)])
    with pytest.raises(ValueError, match=r"5\.png and 3 more \(8 of 9 files\)"):
        pair_folders(pred, gt)


def test_two_files_of_one_name_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"gt: expected one file per name.*a\.png and a\.tif"):
        pair_folders(*folders(tmp_path, ["a.png"], ["a.png", "a.tif"]))


def test_a_list_chooses_the_images_whatever_else_is_there(tmp_path):
    pred, gt = folders(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "x/b.png", "b.png"])
    assert [pair.name for pair in pair_folders(pred, gt, ["b.jpg", "a "])] == ["a", "b"]
    with pytest.raises(ValueError, match="gt: expected the listed images, got none for c"):
        pair_folders(pred, gt, ["a", "c"])
    with pytest.raises(ValueError, match="an empty list"):
        pair_folders(pred, gt, [])


def test_an_empty_or_missing_folder_is_named(tmp_path):
    pred, gt = folders(tmp_path, ["a.png"], ["a.png"])
    (pred / "a.png").rename(pred / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"pred: expected label maps.*JPEG"):
        pair_folders(pred, gt)
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder"):
        pair_folders(tmp_path / "nowhere", gt)


def palette(path, ids):
    image = Image.fromarray(ids, mode="P")
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(path)
    return path


def test_grey_palette_and_sixteen_bits_hold_the_same_ids(tmp_path):
    wide = np.where(MAP == 255, 65535, MAP.astype(int) + 600).astype(np.uint16)
    files = [
        (save(tmp_path / "8.png", MAP), 3, 255, 0),
        (save(tmp_path / "8.tif", MAP), 3, 255, 0),
        (palette(tmp_path / "p.png", MAP), 3, 255, 0),
        (save(tmp_path / "16.png", wide), 603, 65535, 600),
        (save(tmp_path / "16.tif", wide), 603, 65535, 600),
        (save(tmp_path / "32.tif", wide.astype(np.int32)), 603, 65535, 600),
    ]
    for path, num_classes, ignore, shift in files:
        prediction, label = read_pair(LabelPair("a", path, path), num_classes, [ignore])
        assert (label - shift).tolist()[0] == [0, 1, 2], path
        assert label[1].tolist() == [2 + shift, 1 + shift, -1], path
        assert np.array_equal(prediction, np.where(label < 0, 0, label)), path


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
@pytest.mark.parametrize("side", ["Prediction", "Label map"])
def test_colours_are_refused_by_name(tmp_path, mode, side):
    good = save(tmp_path / "good.png", MAP)
    bad = tmp_path / ("bad.tif" if mode == "F" else "bad.png")
    Image.fromarray(MAP).convert(mode).save(bad)
    pair = LabelPair("a", bad, good) if side == "Prediction" else LabelPair("a", good, bad)
    with pytest.raises(ValueError, match=rf"{side} .*{bad.name}: .*mode {mode}"):
        read_pair(pair, 3, [255])


def four_bit_grey(path):
    """A PNG whose 4-bit samples are 0, 1, 2, 3; Pillow reads 0, 17, 34, 51."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, 0x01, 0x23]))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def test_grey_of_four_bits_is_refused_for_readers_stretch_it(tmp_path):
    path = four_bit_grey(tmp_path / "four.png")
    with Image.open(path) as image:
        assert np.array(image).tolist() == [[0, 17, 34, 51]]
    with pytest.raises(ValueError, match=r"four\.png: expected grey of 8 or 16 bits.*palette"):
        read_pair(LabelPair("a", path, path), 100, [255])


def test_two_sizes_are_refused_with_both_files(tmp_path):
    pair = LabelPair("a", save(tmp_path / "p.png", MAP[:, :2]), save(tmp_path / "l.png", MAP))
    with pytest.raises(ValueError, match=r"p\.png.*l\.png, 3 x 2, got 2 x 2"):
        read_pair(pair, 3, [255])


def test_predicted_ids_out_of_range_are_named_only_where_it_matters(tmp_path):
    label = save(tmp_path / "l.png", MAP)
    fine = save(tmp_path / "fine.png", MAP)  # 255 where the label is ignored
    assert read_pair(LabelPair("a", fine, label), 3, [255])[0].max() == 2
    bad = save(tmp_path / "bad.png", MAP[::-1])
    with pytest.raises(ValueError, match=re.escape("bad.png: expected ids 0 to 2") + ".*got 255"):
        read_pair(LabelPair("a", bad, label), 3, [255])


def test_classes_beyond_the_labels_fold_into_the_background(tmp_path):
    label = save(tmp_path / "l.png", MAP)
    prediction = save(tmp_path / "p.png", np.array([[0, 58, 2], [30, 1, 5]], dtype=np.uint8))
    folded, _ = read_pair(LabelPair("a", prediction, label), 3, [255], fold=True)
    assert folded.tolist() == [[0, 2, 2], [2, 1, 2]]


def test_a_truncated_file_is_named(tmp_path):
    good = save(tmp_path / "good.png", MAP)
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:40])
    with pytest.raises(OSError, match=r"Prediction .*bad\.png"):
        read_pair(LabelPair("a", bad, good), 3, [255])
