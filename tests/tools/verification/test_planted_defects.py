"""Each test plants one defect in a small tree and expects it to be named, alone."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.planted import SIZE, blocks, check, codes, folders, plant

ADE, ADE_FULL = "ade20k_150_test_sem_seg", "ade20k_full_sem_seg_freq_val_all"
COCO = "coco_2017_test_stuff_all_sem_seg"
PC59, PC459 = "context_59_test_sem_seg", "context_459_test_sem_seg"
VOC20, VOC20B = "voc_2012_test_sem_seg", "voc_2012_test_background_sem_seg"

GOOD = [blocks([2, 1, 255]), blocks([2, 4, 0, 255])]


def only(report):
    found = [finding for finding in report.findings if not finding.is_note]
    assert [f.code for f in found] == [found[0].code], codes(report)
    return found[0]


def test_right_maps_have_no_finding(root):
    plant(root, ADE, GOOD)
    assert codes(check(ADE)) == []


def test_unprepared_coco_maps_are_known_by_their_182_ids(root):
    _, labels = plant(root, COCO, [blocks([0, 181]), blocks([3, 170, 255])])
    finding = only(check(COCO))
    assert finding.code == "unprepared-coco" and finding.files == (str(labels[0]),)
    assert "prepare coco_stuff" in finding.cure and "--force" in finding.cure


def test_unprepared_ade_maps_are_known_by_150(root):
    plant(root, ADE, [*GOOD, blocks([3, 150, 0])])
    finding = only(check(ADE))
    assert finding.code == "unprepared-ade" and finding.count == 1


def test_unprepared_ade_maps_are_known_by_the_lack_of_ignored_pixels(root):
    plant(root, ADE, [blocks([3, 2, k, 0]) for k in range(4, 14)])
    assert only(check(ADE)).code == "unprepared-ade"


@pytest.mark.parametrize("name", [ADE, COCO])
def test_maps_equal_to_the_download_are_known_even_if_few(root, name):
    map_without_sign = blocks([3, 20, 0])
    _, labels = plant(root, name, [map_without_sign])
    raw = labels[0].parent.parent.with_name("annotations") / labels[0].parent.name
    raw.mkdir(parents=True)
    Image.fromarray(map_without_sign).save(raw / labels[0].name)
    assert only(check(name)).code == "raw-copies"
    Image.fromarray(map_without_sign + 1).save(raw / labels[0].name)
    assert codes(check(name)) == []


VOC_RAW = [blocks([0, 0, k, 255]) for k in (1, 7, 20)]
VOC_PLAIN = [blocks([255, 255, k, 255]) for k in (0, 6, 19)]
VOC_BACKGROUND = [blocks([20, 20, k, 255]) for k in (0, 6, 19)]


@pytest.mark.parametrize(
    ("name", "maps", "what"),
    [
        (VOC20, VOC_RAW, "raw maps"),
        (VOC20, VOC_BACKGROUND, "background as 20"),
        (VOC20B, VOC_RAW, "raw maps"),
        (VOC20B, VOC_PLAIN, "without background"),
    ],
)
def test_voc_maps_of_another_encoding_are_named(root, name, maps, what):
    plant(root, name, maps)
    finding = only(check(name))
    assert finding.code == "other-voc-maps" and what in finding.text.split("got")[1]


@pytest.mark.parametrize(("name", "maps"), [(VOC20, VOC_PLAIN), (VOC20B, VOC_BACKGROUND)])
def test_voc_maps_of_the_right_encoding_pass(root, name, maps):
    plant(root, name, maps)
    assert codes(check(name)) == []


def test_the_class_order_of_ov_seg_is_known_by_sky_tree_and_grass(root):
    plant(root, PC59, [blocks([49, 53, 35, 7])] * 10)
    finding = only(check(PC59))
    assert finding.code == "context-59-order" and "ov-seg" in finding.text


def test_the_class_order_of_ov_seg_is_known_from_one_459_class_map(root):
    dog_459, dog_sorted, dog_ov_seg = 112, 22, 11
    for name, ids, suffix, dtype in (
        (PC459, [dog_459, 430], ".tif", np.uint16),
        (PC59, [dog_ov_seg, 255], ".png", np.uint8),
    ):
        plant(root, name, [blocks(ids, dtype)], suffix)
    assert only(check(PC59)).code == "context-59-order"
    plant(root, PC59, [blocks([dog_sorted, 255])])
    assert codes(check(PC59)) == []


def test_the_order_of_most_peers_passes(root):
    plant(root, PC59, [blocks([46, 52, 28, 7])] * 10)
    assert codes(check(PC59)) == []


def test_two_ignored_ids_in_pc_459_are_a_mixture(root):
    plant(root, PC459, [blocks([3, 459], np.uint16), blocks([3, 65535], np.uint16)], ".tif")
    finding = only(check(PC459))
    assert finding.code == "context-459-ignore" and "Two scripts" in finding.cure


@pytest.mark.parametrize("ignored", [459, 65535])
def test_one_ignored_id_in_pc_459_is_a_note_that_names_it(root, ignored):
    plant(root, PC459, [blocks([3, ignored], np.uint16)], ".tif")
    report = check(PC459)
    assert codes(report) == []
    assert f"without a class are {ignored}" in " ".join(f.text for f in report.findings)


def test_ids_of_the_full_list_of_ade_objects_are_known(root):
    plant(root, ADE_FULL, [blocks([2976, 447, 65535], np.uint16)], ".tif")
    assert only(check(ADE_FULL)).code == "unprepared-ade-full"


def test_labels_of_the_original_size_beside_resized_images_are_known(root):
    images, _ = plant(root, ADE_FULL, [blocks([2, 900 - 300], np.uint16, (600, 900))], ".tif")
    Image.new("RGB", (768, 512)).save(images[0])
    finding = only(check(ADE_FULL))
    assert finding.code == "raw-size-labels" and "900 x 600, its image 768 x 512" in finding.text


def test_8_bits_for_more_than_256_classes_are_too_few(root):
    plant(root, ADE_FULL, [blocks([2, 3])])
    assert only(check(ADE_FULL)).code == "8-bit-labels"


def test_colours_instead_of_ids_are_named(root):
    plant(root, ADE, [*GOOD, np.zeros((*SIZE, 3), np.uint8)])
    finding = only(check(ADE))
    assert finding.code == "coloured-labels" and finding.count == 1


def test_grey_of_4_bits_is_named(root):
    _, labels = plant(root, ADE, GOOD)
    # Pillow writes 4 bits with a palette only; a grey PNG differs in its header and its chunks.
    _write_grey_png_of_4_bits(labels[0])
    assert only(check(ADE)).code == "stretched-labels"


def test_a_jpeg_called_png_is_named(root):
    _, labels = plant(root, ADE, GOOD)
    Image.fromarray(blocks([1])).save(labels[0], "JPEG")
    assert only(check(ADE)).code == "lossy-labels"


def test_a_label_of_another_scale_is_named_with_both_sizes(root):
    images, _ = plant(root, ADE, GOOD)
    Image.new("RGB", (2 * SIZE[1], 2 * SIZE[0])).save(images[0])
    finding = only(check(ADE))
    assert finding.code == "scaled-labels" and "32 x 24, its image 64 x 48" in finding.text


def test_a_label_of_another_shape_is_named(root):
    images, _ = plant(root, ADE, GOOD)
    Image.new("RGB", (SIZE[1] + 8, SIZE[0])).save(images[0])
    assert only(check(ADE)).code == "size-mismatch"


def test_a_label_drawn_before_the_exif_rotation_is_named(root):
    images, labels = plant(root, ADE, GOOD)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(images[0], exif=exif)
    finding = only(check(ADE))
    assert finding.code == "exif-rotation" and finding.files == (str(labels[0]),)
    Image.fromarray(GOOD[0].T).save(labels[0])
    assert codes(check(ADE)) == []


@pytest.mark.parametrize("keep", [0, 60])
def test_a_damaged_label_is_named(root, keep):
    _, labels = plant(root, ADE, GOOD)
    labels[0].write_bytes(labels[0].read_bytes()[:keep])
    finding = only(check(ADE))
    assert finding.code == "broken-label" and finding.files == (str(labels[0]),)


@pytest.mark.parametrize("keep", [0, 100, -150])
def test_a_damaged_image_is_named_without_decoding_all(root, keep):
    images, _ = plant(root, ADE, GOOD)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(images[0])
    images[0].write_bytes(images[0].read_bytes()[:keep])
    assert only(check(ADE)).code == "broken-image"


def test_an_image_without_label_is_named_and_how_to_make_it(root):
    images, labels = plant(root, ADE, GOOD)
    labels[1].unlink()
    finding = only(check(ADE))
    assert finding.code == "missing-label" and finding.files == (str(images[1]),)
    assert "prepare ade20k_150" in finding.cure


def test_a_label_without_image_is_named(root):
    images, labels = plant(root, VOC20, VOC_PLAIN)
    images[1].unlink()
    finding = only(check(VOC20))
    assert finding.code == "missing-image" and finding.files == (str(labels[1]),)


def test_labels_with_an_ending_to_their_names_are_understood(root):
    _, labels = plant(root, COCO, [blocks([1, 255])])
    labels[0].rename(labels[0].with_name(labels[0].stem + "_labelTrainIds.png"))
    report = check(COCO)
    assert "missing-image" in codes(report)
    assert all("_labelTrainIds" in f.cure for f in report.findings if f.code.startswith("missing"))


def test_two_files_of_one_stem_are_named(root):
    images, _ = plant(root, ADE, GOOD)
    Image.new("RGB", SIZE[::-1]).save(images[0].with_suffix(".png"))
    finding = only(check(ADE))
    assert finding.code == "duplicate-stems" and finding.count == 2


def test_labels_of_a_wrong_suffix_are_named(root):
    _, labels = plant(root, ADE, GOOD)
    Image.fromarray(GOOD[0]).save(labels[0].with_suffix(".jpg"))
    labels[0].unlink()
    finding = only(check(ADE))
    assert finding.code == "wrong-suffix" and finding.files == (str(labels[0].with_suffix(".jpg")),)


def test_labels_of_a_wrong_suffix_do_not_vanish_where_labels_select(root):
    _, labels = plant(root, VOC20, VOC_PLAIN)
    labels[0].rename(labels[0].with_suffix(".bmp"))
    assert only(check(VOC20)).code == "wrong-suffix"


def test_an_empty_folder_is_named(root):
    _, labels = plant(root, ADE, GOOD)
    for label in labels:
        label.unlink()
    assert only(check(ADE)).code == "empty-folder"


def test_an_id_that_is_no_class_is_named_with_its_files(root):
    _, labels = plant(root, ADE, [*GOOD, blocks([2, 200])])
    finding = only(check(ADE))
    assert finding.code == "ids-out-of-range" and "200 (16.7 % of the pixels)" in finding.text
    assert finding.files == (str(labels[2]),)


def test_maps_with_hardly_a_class_are_named(root):
    plant(root, ADE, [blocks([255]), blocks([255])])
    assert only(check(ADE)).code == "mostly-ignored"


def test_a_folder_that_was_not_prepared_fails_where_it_is_named(root):
    folders(root, ADE)[0].mkdir(parents=True)
    report = check(ADE)
    assert report.status == "not prepared" and codes(report) == ["not-prepared"]
    assert "prepare ade20k_150" in only(report).text


def test_more_images_than_there_are_is_a_finding_and_fewer_a_note(root, monkeypatch):
    from stseg.tools.verification import official

    plant(root, ADE, GOOD)
    assert codes(check(ADE)) == [] and codes(check(ADE, strict=True)) == ["too-few-images"]
    monkeypatch.setitem(official.OFFICIAL, ADE, official.Official((1,), "a test"))
    assert codes(check(ADE)) == ["too-many-images"]


def test_a_class_missing_in_the_whole_split_is_a_finding(root, monkeypatch):
    from stseg.tools.verification import official

    plant(root, ADE, GOOD)
    monkeypatch.setitem(official.OFFICIAL, ADE, official.Official((2,), "a test"))
    assert codes(check(ADE)) == ["classes-never-seen"]
    assert codes(check(ADE, limit=1)) == []


def _write_grey_png_of_4_bits(path):
    import struct
    import zlib

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = SIZE
    rows = (b"\0" + b"\x12" * (width // 2)) * height
    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
