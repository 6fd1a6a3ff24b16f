import pytest

from stseg.config.data_entries import FORMATS, DataEntry, parse_entry, parse_flag


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("m=labelme:photos", {"name": "m", "format": "labelme", "path": "photos"}),
        ("m=photos", {"name": "m", "format": "folder", "path": "photos"}),
        (r"m=C:\photos", {"name": "m", "format": "folder", "path": r"C:\photos"}),
        (
            "m=folder:a,b, split=val,ignore=[0, 255],reduce_zero_label=true",
            {
                "name": "m",
                "format": "folder",
                "path": "a,b",
                "split": "val",
                "ignore": [0, 255],
                "reduce_zero_label": True,
            },
        ),
        (
            "m=images:photos,names=cat, kitten; dog",
            {"name": "m", "format": "images", "path": "photos", "names": "cat, kitten; dog"},
        ),
        (
            "m=coco:,images=a,annotation=b.json",
            {"name": "m", "format": "coco", "images": "a", "annotation": "b.json"},
        ),
    ],
)
def test_a_flag_becomes_an_entry(text, entry):
    assert parse_flag(text) == entry


@pytest.mark.parametrize("text", ["labelme:photos", "=photos", "m=", ""])
def test_a_flag_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="--data: expected NAME=FORMAT:PATH"):
        parse_flag(text)


def test_an_unknown_key_in_a_flag_is_named():
    with pytest.raises(ValueError, match="--data, 'm' of format labelme.*got 'lables'. Did you"):
        parse_flag("m=labelme:photos,lables=x")


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("0", (0,)),
        ("0,255", (0, 255)),
        ("[0, 255]", (0, 255)),
        ("#000000,#ffffff", ("#000000", "#ffffff")),
    ],
)
def test_several_ignored_values_may_follow_one_another(text, ignored):
    entry = parse_entry(parse_flag(f"m=x,colours=#ff0000:0,ignore={text},nested=true"), "--data")
    assert entry.ignore == ignored and entry.nested is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": 7}, "values of 'm': expected pairs, such as 0:0,255:1, got 7"),
        ({"colours": [["#ffffff"]]}, "colours of 'm': expected pairs"),
        ({"nested": "yes"}, "nested of 'm': expected true or false, got 'yes'"),
        ({"ignore": "#ffffff"}, "ignore of 'm': expected whole numbers"),
    ],
)
def test_faulty_keys_of_label_files_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        parse_entry({"name": "m", "path": "x"} | change, "here")


def test_one_ignored_value_needs_no_list():
    entry = parse_entry({"name": "m", "path": "x", "ignore": 7}, "here")
    assert entry == DataEntry("m", path="x", ignore=(7,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "expected a 'name'"),
        ({"format": "voc"}, "expected one of folder, images.*got 'voc'"),
        ({"lables": "x"}, "got 'lables'. Did you mean labels?"),
        ({"every": 2}, "of format folder: expected the keys .*got 'every'"),
        ({"path": 3}, "path of 'm': expected text, got 3"),
        ({"ignore": "sky"}, r"ignore of 'm': expected whole numbers, got \('sky',\)"),
        ({"ignore": True}, "expected whole numbers"),
        ({"format": "labelme", "ignore": 255}, r"expected labels \(texts\), got \(255,\)"),
        ({"reduce_zero_label": 1}, "expected true or false, got 1"),
        ({"format": "video", "names": "a", "every": 0}, "expected a whole number from 1, got 0"),
        ({"format": "video"}, "expected path and names, got path"),
        ({"path": ""}, "expected path, or images and labels and names, got none"),
        ({"path": "", "format": "coco", "images": "x"}, "expected path, or images and annotation"),
        ({"format": "pairs", "names": "a"}, "of format pairs: expected the keys .*got 'names'"),
        ({"format": "pairs", "path": ""}, "format pairs .*: expected path, got none"),
    ],
)
def test_a_faulty_entry_is_named_with_its_place(change, message):
    with pytest.raises(ValueError, match=rf"(?s)^DATASETS.FOLDERS\[2\].*{message}"):
        parse_entry({"name": "m", "path": "x"} | change, "DATASETS.FOLDERS[2]")


def test_every_format_needs_only_keys_it_has():
    for row in FORMATS.values():
        assert all(key in row.keys for group in row.needs for key in group)
