import pytest
from PIL import Image

from stseg.self_training.corrections import Correction
from stseg.self_training.veto import Veto
from stseg.structures import IGNORE_LABEL

CLASSES = ("traffic light", "bag", "car", "Bag", "road: wet")
IMAGES = ("IMG_1.jpg", "IMG_2.jpg", "my #1: photo.png")


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "veto.txt"
    path.write_text(text, encoding=encoding)
    return Veto.read(path, CLASSES, IMAGES)


def test_classes_and_images_are_read(tmp_path):
    text = "# comment\n\nclass: car\n  Image :IMG_2.jpg  \r\nCLASS: Traffic  Light\n"
    veto = read(tmp_path, text, encoding="utf-8-sig")
    assert veto.class_ids == {0, 2} and veto.images == {"IMG_2.jpg"}


def test_names_may_hold_colons_and_hashes(tmp_path):
    veto = read(tmp_path, "image: my #1: photo.png\nclass: road: wet\n")
    assert veto.images == {"my #1: photo.png"} and veto.class_ids == {4}


def test_a_shared_name_vetoes_every_class_of_that_name(tmp_path):
    assert read(tmp_path, "class: bag").class_ids == {1, 3}


def test_nothing_is_vetoed_by_default(tmp_path):
    assert Veto() == read(tmp_path, "# nothing\n") == read(tmp_path, "")


def test_order_and_comments_do_not_count(tmp_path):
    one = read(tmp_path, "class: car\nclass: bag\nimage: IMG_1.jpg")
    two = read(tmp_path, "# why\nimage: IMG_1.jpg\nclass: bag\nclass: car\nclass: car")
    assert one == two and one != read(tmp_path, "class: car") != Veto()


def test_every_wrong_line_is_named_with_the_nearest_names(tmp_path):
    text = "class: car\nclass: trafic light\nimage: IMG_3.jpg\nbag\nclass:\nclass: zebra"
    with pytest.raises(ValueError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "line 2: expected the name of a known class, got 'trafic light'" in message
    assert "nearest: traffic light" in message and "IMG_1.jpg" in message
    assert "line 3" in message and "line 4: expected 'class: NAME'" in message
    assert "line 5" in message and "line 6" in message and "line 1:" not in message


def test_of_a_file_about_other_images_the_first_lines_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"line 20: .*; and perhaps more. Correct") as caught:
        read(tmp_path, "image: other.jpg\n" * 500)
    assert "line 21" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        Veto.read(tmp_path / "nowhere.txt", CLASSES, IMAGES)


def test_a_file_that_is_no_text_is_named(tmp_path):
    with pytest.raises(ValueError, match="UTF-8"):
        read(tmp_path, "class: köter", encoding="latin-1")


TRIANGLE = ((12.0, 30.0), (40.0, 30.0), (40.0, 60.0))
TEXT = "12,30 40,30 40,60"
#: Some names hold colons, blanks, and what looks like an outline.
FILES = ("IMG_1.jpg", "my #1: photo.png", "odd: 1,2 3,4 5,6: a.jpg")


@pytest.fixture
def regions(tmp_path):
    """Reads a veto file about pictures of 40 x 60 pixels, two of one name."""
    for folder, name in [*(("one", name) for name in FILES), ("two", "IMG_1.jpg")]:
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("L", (40, 60)).save(tmp_path / folder / name)
    files = [str(path) for path in sorted(tmp_path.glob("*/*"))]

    def read_regions(text):
        (tmp_path / "veto.txt").write_text(text, encoding="utf-8")
        return Veto.read(tmp_path / "veto.txt", CLASSES, files)

    return read_regions


def test_regions_are_read_in_order(regions):
    veto = regions(f"region: IMG_1.jpg: {TEXT}: car\nREGION :IMG_1.jpg:{TEXT} :  Nothing ")
    assert veto.corrections == (
        Correction("IMG_1.jpg", (TRIANGLE,), 2),
        Correction("IMG_1.jpg", (TRIANGLE,), IGNORE_LABEL),
    )
    assert not veto.class_ids and not veto.images


@pytest.mark.parametrize("image", FILES)
@pytest.mark.parametrize("name", ["car", "road: wet", "Road:  Wet"])
def test_names_of_images_and_classes_may_hold_colons(regions, image, name):
    (found,) = regions(f"region: {image}: {TEXT}: {name}").corrections
    assert (found.image, found.rings) == (image, (TRIANGLE,))
    assert CLASSES[found.class_id] == " ".join(name.lower().split())


def test_a_region_may_have_several_rings_and_broken_pixels(regions):
    (found,) = regions("region: IMG_1.jpg: 0,0 9.5, 0 9,9;  3 ,3 6,3 6,6 ;: car").corrections
    assert found.rings == (((0, 0), (9.5, 0), (9, 9)), ((3, 3), (6, 3), (6, 6)))


def test_a_class_whose_name_others_share_but_for_case_is_told_by_its_spelling(regions):
    found = regions(f"region: IMG_1.jpg: {TEXT}: bag\nregion: IMG_1.jpg: {TEXT}: Bag").corrections
    assert [part.class_id for part in found] == [1, 3]
    with pytest.raises(ValueError, match="expected one class, got 'BAG', which may be any of bag"):
        regions(f"region: IMG_1.jpg: {TEXT}: BAG")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"region: IMG_2.jpg: {TEXT}: car", "known image, got 'IMG_2.jpg'; nearest: IMG_1.jpg"),
        (f"region: IMG_1.jpg: {TEXT}: carr", "known class, got 'carr'; nearest: car"),
        ("region: IMG_1.jpg: 1,2 3,4: car", "at least 3 corners in a ring, got 2 in '1,2 3,4'"),
        ("region: IMG_1.jpg: : car", "at least 3 corners in a ring, got 0"),
        ("region: IMG_1.jpg: 1,2 3,4 5 6: car", "X,Y X,Y X,Y of an outline, got '5 6'"),
        (f"region: IMG_1.jpg: {TEXT}", "'region: FILENAME: X,Y X,Y X,Y: CLASS'"),
        ("region: IMG_1.jpg: car", "'region: FILENAME: X,Y X,Y X,Y: CLASS'"),
        ("region: IMG_1.jpg: 0,0 41,0 9,9: car", "inside the 40 x 60 pixels of .*corner at 41,0"),
        ("region: IMG_1.jpg: 0,0 4,0 9,-9: car", "corner at 9,-9"),
    ],
)
def test_what_is_wrong_with_a_region_is_told(regions, line, told):
    with pytest.raises(
        ValueError, match=f"veto.txt, line 2: expected .*{told}.* Correct or remove"
    ):
        regions(f"# why\n{line}\n")


def test_a_vetoed_class_cannot_be_given(regions):
    with pytest.raises(ValueError, match="line 1: expected a class that is not vetoed, got 'car'"):
        regions(f"region: IMG_1.jpg: {TEXT}: car\nclass: car\n")


def test_images_that_no_region_names_are_not_opened(tmp_path):
    assert read(tmp_path, "image: IMG_1.jpg\nclass: car").images == {"IMG_1.jpg"}


def test_the_text_is_kept_for_the_page(regions):
    text = f"# why\nregion: IMG_1.jpg: {TEXT}: car\n"
    assert regions(text).text == text
