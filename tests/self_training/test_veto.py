import pytest

from stseg.self_training.veto import Veto

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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        Veto.read(tmp_path / "nowhere.txt", CLASSES, IMAGES)


def test_a_file_that_is_no_text_is_named(tmp_path):
    with pytest.raises(ValueError, match="UTF-8"):
        read(tmp_path, "class: köter", encoding="latin-1")
