"""Captions in tables and beside images."""

import pytest

from stseg.data.opening import BrokenFileError
from stseg.data.readers.caption_files import FolderPairs, TablePairs
from tests.helpers.caption_data import picture


@pytest.fixture
def images(tmp_path):
    """A folder with three pictures."""
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for name in ("0.png", "1.jpg", "deep/2.png"):
        (folder / name).write_bytes(picture(1))
    return folder


def table(folder, text, name="a.csv", **keys):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return TablePairs(folder / name, folder, **keys)


def content(pairs):
    read = [pairs.read(i) for i in range(len(pairs))]
    return [(record["file_name"].rsplit("/", 1)[-1], record["caption"]) for record in read]


def test_rows_of_a_table_are_read_by_number(images):
    text = 'image,caption\r\n0.png,"a ""big"", red\nhouse"\r\n\r\n1.jpg,雪\r\ndeep/2.png,last'
    pairs = table(images, text)
    assert content(pairs) == [("0.png", 'a "big", red\nhouse'), ("1.jpg", "雪"), ("2.png", "last")]
    assert pairs.read(2)["file_name"] == str(images / "deep/2.png")
    assert pairs.place(2) == str(images / "a.csv") and pairs.incomplete == 0
    assert pairs.nbytes == 3 * 8


@pytest.mark.parametrize(
    ("heading", "name", "keys"),
    [
        ("filepath\ttitle", "a.tsv", {}),
        ("\ufeffFile,Text", "a.csv", {}),
        ("caption,url,image", "a.csv", {}),
        ("Bild,Satz", "a.csv", {"image_column": "bild", "caption_column": "Satz"}),
        ("image,alt,caption", "a.csv", {"caption_column": "alt"}),
    ],
)
def test_columns_are_found_by_their_headings(images, heading, name, keys):
    mark = "\t" if "\t" in heading else ","
    cells = {"url": "x", "alt": "one, two"}
    cells |= dict.fromkeys(("filepath", "\ufeffFile", "image", "Bild"), "0.png")
    if "alt" not in heading:
        cells |= dict.fromkeys(("title", "Text", "caption", "Satz"), "one, two")
    row = mark.join(f'"{cells.get(h, "")}"' for h in heading.split(mark))
    assert content(table(images, f"{heading}\n{row}\n", name, **keys)) == [("0.png", "one, two")]


def test_a_line_of_a_jsonl_is_a_row(images):
    lines = [
        '{"file": "0.png", "caption": "eins, zwei", "more": 3}',
        "",
        '{"file": "1.jpg"}',
        '["no", "object"]',
        '{"caption": "雪", "file": "deep/2.png"}',
    ]
    pairs = table(images, "\n".join(lines), "a.jsonl")
    assert content(pairs) == [("0.png", "eins, zwei"), ("2.png", "雪")]
    assert pairs.incomplete == 1  # what has no cells at all is no row
    with pytest.raises(ValueError, match=r"a.jsonl: expected rows of cells, got what is none"):
        table(images, lines[0] + "\n{broken", "a.jsonl")


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("url,caption\n", {}, r"a\.csv: expected a column image or .* got url, caption\. Give im"),
        ("image,words\n", {}, r"expected a column caption or title .* Give caption_column=HEADING"),
        ("image,words\n", {"caption_column": "word"}, r"column word in .* Did you mean words\?"),
        ("", {}, "got an empty one"),
        ('image,caption\n0.png,"open\n' + "x\n" * 70000, {}, "Is a quotation mark left open"),
    ],
)
def test_a_table_without_the_columns_is_refused(images, text, keys, message):
    with pytest.raises(ValueError, match=message):
        table(images, text, **keys)


def test_rows_that_lack_a_cell_are_left_out_and_counted(images):
    pairs = table(images, "image,caption\n0.png,zero\n1.jpg\n,two\n1.jpg, \n1.jpg,one\n")
    assert content(pairs) == [("0.png", "zero"), ("1.jpg", "one")] and pairs.incomplete == 3


def test_a_caption_that_is_no_text_is_named_when_it_is_read(images):
    pairs = table(images, b"image,caption\n0.png,caf\xe9\n1.jpg,one\n")
    assert pairs.read(1)["caption"] == "one"
    with pytest.raises(BrokenFileError, match=r"Caption .*a\.csv, byte 14: expected a text in UTF"):
        pairs.read(0)


def test_a_table_whose_images_lie_elsewhere_is_refused(images, tmp_path):
    text = "image,caption\n" + "nowhere.png,a\n" * 5
    with pytest.raises(
        FileNotFoundError, match=r"nothing at .*nowhere\.png, nor at the next 4\. Gi"
    ):
        table(images, text)
    assert len(table(images, text + "0.png,b\n")) == 6  # a few may be missing
    other = TablePairs(images / "a.csv", tmp_path / "set")
    assert other.read(5)["caption"] == "b"


def test_images_have_their_caption_beside_them(images):
    for name, text in (("0.txt", "zero"), ("deep/2.txt", " été\n"), ("3.txt", "no image")):
        (images / name).write_text(text, encoding="utf-8")
    (images / "notes.md").write_text("nothing")
    pairs = FolderPairs(images)
    assert content(pairs) == [("0.png", "zero"), ("2.png", "été")] and pairs.incomplete == 2
    assert pairs.read(1)["file_name"] == str(images / "deep/2.png")
    assert pairs.place(1) == str(images / "deep")
    (images / "0.txt").write_text("")
    with pytest.raises(BrokenFileError, match=r"Caption .*0\.txt: expected a text"):
        pairs.read(0)


def test_names_in_any_letters_are_found_in_a_folder(tmp_path):
    for name in ("雪 1", "Ünïcode"):
        (tmp_path / f"{name}.JPG").write_bytes(picture(3))
        (tmp_path / f"{name}.txt").write_text(name, encoding="utf-8")
    assert sorted(content(FolderPairs(tmp_path))) == [
        ("Ünïcode.JPG", "Ünïcode"),
        ("雪 1.JPG", "雪 1"),
    ]
