import numpy as np
import pytest
from PIL import Image

from stseg.tools.sheet import choose, make_sheet, write_page, write_sheet
from stseg.tools.verification import Pair, folder_target, list_folder
from tests.helpers.planted import blocks
from tests.helpers.tiny_data import write_folder, write_pair


@pytest.fixture
def listed(tmp_path):
    paths = write_folder(tmp_path, count=8)
    write_pair(tmp_path, "scene3", blocks([0, 1]))
    write_pair(tmp_path, "scene5", blocks([0, 255, 9], size=(64, 40)))
    return list_folder(folder_target("tiny", *paths))


def titles(sheet):
    return [card.title for card in sheet.cards]


def test_the_choice_depends_on_the_seed_and_on_nothing_else(listed):
    chosen = choose(listed.pairs, 4, seed=1)
    assert chosen == choose(listed.pairs[::-1], 4, seed=1)
    moved = [Pair(f"/elsewhere/{p.image}", p.label) for p in listed.pairs]
    assert [p.label for p in choose(moved, 4, seed=1)] == [p.label for p in chosen]
    assert len({tuple(choose(listed.pairs, 4, seed=seed)) for seed in range(9)}) > 1


def test_images_with_a_class_can_be_asked_for(listed):
    assert "scene3.png" not in titles(make_sheet(listed, 8, classes="car"))
    assert len(make_sheet(listed, 8).cards) == 8
    with pytest.raises(ValueError, match="classes of tiny, got 'zebra'"):
        make_sheet(listed, 8, classes="zebra")


def test_an_id_without_a_class_is_shown_as_such(listed):
    card = next(card for card in make_sheet(listed, 8).cards if card.title == "scene5.png")
    third = card.label.shape[0] // 3
    assert set(np.unique(card.label[: third - 10])) == {0}
    assert set(np.unique(card.label[third + 10 : 2 * third - 10])) == {-1}
    assert card.names[card.label[-1, 0]] == "9 NOT A CLASS"


def test_a_label_of_another_size_is_shown_and_said(tmp_path):
    paths = write_folder(tmp_path, count=1)
    write_pair(tmp_path, "scene0", blocks([0, 1]), np.zeros((50, 90, 3), np.uint8))
    card = make_sheet(list_folder(folder_target("tiny", *paths)), 1).cards[0]
    assert card.remark == "label 32 x 24, image 90 x 50"
    assert card.label.shape == card.photo.shape[:2]


def test_a_sheet_and_a_page_are_written_twice_alike(listed, tmp_path):
    for write, name in ((write_sheet, "sheet.png"), (write_page, "page.html")):
        first, second = tmp_path / name, tmp_path / f"again_{name}"
        write(first, make_sheet(listed, 5))
        write(second, make_sheet(listed, 5))
        assert first.read_bytes() == second.read_bytes()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 480 and sheet.height > 2 * 360
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article") == 5 and "0 sky" in page and 'src="http' not in page


def test_files_that_cannot_be_read_are_shown_as_such(listed, tmp_path):
    (tmp_path / "images" / "scene1.png").write_bytes(b"")
    (tmp_path / "labels" / "scene2.png").write_bytes(b"")
    Image.new("RGB", (56, 40)).save(tmp_path / "labels" / "scene4.png")
    sheet = make_sheet(listed, 8)
    assert {card.title: card.remark for card in sheet.cards if card.remark} == {
        "scene1.png": "image cannot be read",
        "scene2.png": "label map cannot be read",
        "scene4.png": "label map cannot be read",
    }
    write_sheet(tmp_path / "sheet.png", sheet)


def test_images_without_labels_are_shown_alone(tmp_path):
    images, _, names = write_folder(tmp_path, count=2)
    sheet = make_sheet(list_folder(folder_target("tiny", images, "", names)), 5)
    assert {card.remark for card in sheet.cards} == {"no label map"}
    write_sheet(tmp_path / "sheet.png", sheet)
