import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from stseg.data import spread
from stseg.self_training.page import write_page
from stseg.self_training.page_advice import Advice
from stseg.self_training.page_counts import by_frequency, count_classes
from stseg.self_training.page_pictures import PANEL_SIDE, ReportEntry, draw_panels
from stseg.self_training.pseudo_label import PseudoLabel
from stseg.structures import Vocabulary
from tests.helpers.report_data import make_entry, make_record

NAMES = ("cat", "dog", "cow", "zebra")
VOCABULARY = Vocabulary.parse(list(NAMES)).with_seen("cat; dog")
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order; gathers pictures, ticks and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.ticks, self.text, self.addresses = [], [], [], "", []
        self.regions = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[k] for k in ("src", "href") if k in values]
        if tag == "img":
            self.pictures.append(values["src"])
        if tag == "svg":
            self.image = self.regions.setdefault(values["data-image"], [])
        if "data-class" in values:
            self.image.append((values["data-class"], values["d"]))
        if "data-veto" in values:
            self.ticks.append(values["data-veto"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data


def write(tmp_path, entries, vocabulary=VOCABULARY, **parts):
    path, sheet = write_page(
        tmp_path / "new" / "page.html", entries, title="Look", vocabulary=vocabulary, **parts
    )
    assert sheet == path.with_suffix(".png")
    return Page(path.read_text(encoding="utf-8")), Image.open(sheet)


def test_the_page_holds_its_pictures_and_needs_nothing_else(tmp_path):
    entries = [make_entry(f"{i}.jpg", NAMES, with_before=i == 1) for i in range(3)]
    page, sheet = write(tmp_path, iter(entries))
    assert len(page.pictures) == 3 + 4 + 3
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert sheet.width >= 4 * 300 and np.asarray(sheet).std() > 10
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["page.html", "page.png"]


def test_what_was_gated_out_and_why_is_told(tmp_path):
    page, _ = write(tmp_path, [make_entry("1.jpg", NAMES)])
    assert page.text.count("score 0.41 below 0.90") == 2 * 2  # per image, and per class
    assert page.text.count("accepted") >= 2 and "50 % labelled" in page.text


def test_names_from_outside_are_escaped(tmp_path):
    bad = '<img src=x onerror="alert(1)">&amp;.jpg'
    entry = make_entry(bad, [bad, "dog"])
    path, _ = write_page(
        tmp_path / "page.html",
        [entry],
        title=bad,
        vocabulary=Vocabulary.parse([[bad], ["dog"]]),
        summary=[(bad, bad)],
        verdict=bad,
        evidence=[[bad], [bad]],
        remarks={0: bad},
    )
    text = path.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    page = Page(text)
    assert len(page.pictures) == 3
    assert f"image: {bad}" in page.ticks and f"class: {bad}" in page.ticks


def test_names_that_no_line_can_hold_get_no_tick(tmp_path):
    names = ["a\nclass: dog.jpg", " blank.jpg", "bad\udcff.jpg"]
    page, _ = write(tmp_path, [make_entry(name, NAMES) for name in names])
    assert not [tick for tick in page.ticks if tick.startswith("image")]


def test_counts_are_over_all_images_where_given(tmp_path):
    records = [[make_record(0, "cat"), make_record(3, "zebra", accepted=False)]] * 7
    page, _ = write(tmp_path, [make_entry("1.jpg", NAMES)], counted=count_classes(records, 4))
    assert "Over 7 images" in page.text and "Found in no image: 2 of 4 classes" in page.text
    assert "score 0.41 below 0.90 and 6 alike" in page.text


def test_verdict_evidence_and_remarks_are_shown(tmp_path):
    page, _ = write(
        tmp_path,
        [make_entry("1.jpg", NAMES)],
        summary=[("coverage", "71 %")],
        verdict="Rolled back.",
        evidence=[["check", "value"], ["agreement", "0.5"]],
        remarks={1: "drifts"},
        before_caption="Starting model",
    )
    for text in ("71 %", "Rolled back.", "agreement", "drifts", "unseen"):
        assert text in page.text


def test_many_classes_are_folded(tmp_path):
    names = [f"class {i}" for i in range(847)]
    page, _ = write(
        tmp_path, [make_entry("1.jpg", names[:300], (40, 600))], Vocabulary.parse(names)
    )
    assert "270 more classes" in page.text and "292 more classes" in page.text
    assert "Found in no image: 547 of 847 classes" in page.text
    assert "unseen" not in page.text


def test_no_image_gives_a_page_all_the_same(tmp_path):
    page, sheet = write(tmp_path, [])
    assert "No image to show" in page.text and sheet.height > 0


@pytest.mark.parametrize("shape", [(60, 90), (1, 1), (3, 2000), (1200, 700), (480, 300), (700, 30)])
@pytest.mark.parametrize("map_shape", [None, (17, 23)])
def test_panels_are_small_and_of_one_size(shape, map_shape):
    entry = make_entry("1.jpg", NAMES, shape, map_shape, with_before=True, with_after=True)
    panels = draw_panels(entry, "Before", NAMES)
    captions = [panel.caption for panel in panels]
    assert captions == ["Photo", "Before", "Initial mask", "Refined mask", "After the round"]
    (size,) = {(panel.width, panel.height) for panel in panels}
    assert PANEL_SIDE / 2 < max(size) <= PANEL_SIDE
    assert Image.open(io.BytesIO(panels[0].jpeg)).size == size
    assert Image.open(io.BytesIO(panels[0].jpeg)).format == "JPEG"


def test_a_missing_initial_map_has_no_panel():
    panels = draw_panels(make_entry("1.jpg", NAMES, with_initial=False), "Before", NAMES)
    assert [panel.caption for panel in panels] == ["Photo", "Refined mask"]


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_ignored_pixels_are_hatched_on_any_photo(grey):
    photo = np.full((400, 400, 3), grey, dtype=np.uint8)
    labels = np.full((400, 400), -1, dtype=np.int32)
    panel = draw_panels(ReportEntry("1.jpg", photo, PseudoLabel(labels, None, ())), "", NAMES)[1]
    picture = np.asarray(Image.open(io.BytesIO(panel.jpeg)).convert("L")).astype(int)
    assert picture.max() - picture.min() > 50
    photo = np.asarray(Image.open(io.BytesIO(panel.jpeg)))
    assert np.ptp(photo.reshape(-1, 3).mean(axis=0)) < 3  # no colour: not a class


def test_panels_are_in_place():
    photo = np.zeros((200, 400, 3), dtype=np.uint8)
    labels = np.full((20, 40), -1, dtype=np.int32)
    labels[:10, :10] = 1
    panel = draw_panels(ReportEntry("1.jpg", photo, PseudoLabel(labels, None, ())), "", NAMES)[1]
    picture = np.asarray(Image.open(io.BytesIO(panel.jpeg))).astype(int)
    colourful = np.ptp(picture, axis=2) > 40
    assert (
        colourful[5:90, 5:90].all() and not colourful[110:].any() and not colourful[:, 110:].any()
    )


@pytest.mark.parametrize(
    "size, count, expected",
    [(10, 3, [0, 3, 6]), (2, 5, [0, 1]), (0, 3, []), (5, 5, [0, 1, 2, 3, 4])],
)
def test_images_are_spread_evenly(size, count, expected):
    assert spread(count, size) == expected


def test_reasons_that_differ_in_figures_count_as_one():
    records = [
        [make_record(1, "dog", accepted=False)],
        [make_record(1, "dog")],
        [make_record(0, "cat", accepted=False)],
        [make_record(1, "dog", accepted=False)],
    ]
    object.__setattr__(records[3][0], "reason", "score 0.57 below 0.88")
    counts, images = count_classes(records, 3)
    assert images == 4 and [count.class_id for count in by_frequency(counts)] == [1, 0, 2]
    dog = counts[1]
    assert (dog.found, dog.accepted, dog.initial_pixels, dog.refined_pixels) == (3, 1, 120, 90)
    assert dog.why_not() == "score 0.41 below 0.90 and 1 alike" and dog.best_score == 0.95
    assert counts[2].best_score is None


def test_counts_of_parts_add_up_to_those_of_the_whole_in_any_order():
    refused = [make_record(1, "dog", accepted=False) for _ in range(4)]
    for record, reason in zip(refused, ["score 7", "vetoed", "score 3", "score 5"], strict=True):
        object.__setattr__(record, "reason", reason)
    records = [[record] for record in (*refused, make_record(1, "dog"), make_record(0, "cat"))]
    whole, _ = count_classes(records, 3)
    for parts in (records[:2], records[2:]), (records[::-2], records[-2::-2]):
        (first, _), (second, _) = (count_classes(part, 3) for part in parts)
        for own, other in zip(first, second, strict=True):
            own.merge(other)
        assert first == whole
    assert whole[1].why_not() == "score 3 and 2 alike; vetoed"


def test_the_sheet_shows_a_few_images_only(tmp_path, monkeypatch):
    monkeypatch.setattr("stseg.self_training.page_pictures._SHEET_IMAGES", 3)
    heights = [
        write(tmp_path, [make_entry(f"{i}.jpg", NAMES, (6, 9)) for i in range(n)])[1].height
        for n in (1, 3, 5)
    ]
    assert heights[0] < heights[1] == heights[2]


def test_the_page_is_small(tmp_path):
    entry = make_entry("1.jpg", NAMES, (1500, 2000))
    path, _ = write_page(tmp_path / "p.html", [entry] * 4, title="", vocabulary=VOCABULARY)
    assert path.stat().st_size < 4 * 1_000_000  # noise is the worst that JPEG can meet
    assert not re.search(r"https?://", path.read_text(encoding="utf-8"))


def test_what_a_person_alone_gave_is_counted_as_accepted_and_not_as_found(tmp_path):
    by_hand = make_record(2, "cow", score=0.0, initial_pixels=0, remark="corrected by hand")
    counts, _ = count_classes([[by_hand, make_record(0, "cat")]], 4)
    cow = next(count for count in counts if count.class_id == 2)
    assert (cow.found, cow.accepted, cow.best_score) == (0, 1, None)
    entry = make_entry("1.jpg", NAMES)
    entry = replace(entry, label=replace(entry.label, classes=(by_hand,)))
    page, _ = write(tmp_path, [entry])
    assert "Found in no image: 3 of 4 classes" in page.text
    assert "accepted, corrected by hand" in page.text


def test_shares_are_of_the_size_at_which_the_label_was_made(tmp_path):
    # Found at 20 x 20 pixels and enlarged to 100 x 100.
    label = np.zeros((100, 100), dtype=np.int32)
    records = (
        make_record(0, "cat", initial_pixels=300, refined_pixels=390),
        make_record(1, "dog", accepted=False, initial_pixels=100, refined_pixels=0),
    )
    photo = np.zeros((100, 100, 3), dtype=np.uint8)
    page, _ = write(tmp_path, [ReportEntry("1.jpg", photo, PseudoLabel(label, None, records))])
    assert all(share in page.text for share in ("75.0 %", "97.5 %", "25.0 %"))


@pytest.mark.parametrize("shape", [(60, 90), (1, 1), (3, 2000)])
def test_the_regions_of_the_refined_mask_can_be_pointed_at(tmp_path, shape):
    page, _ = write(
        tmp_path, [make_entry("1.jpg", NAMES, shape), make_entry(" 2.jpg", NAMES, shape)]
    )
    regions = page.regions
    assert (" 2.jpg" not in regions) and len(regions.get("1.jpg", [])) == (3 if shape[1] > 1 else 0)
    if shape[1] > 1:  # two stripes, and the half without a label
        assert [name for name, _ in regions["1.jpg"]] == ["nothing", "cat", "dog"]
        path = regions["1.jpg"][0][1]
        assert path.startswith("M") and path.endswith("Z") and f"{shape[1] // 2},0" in path


def test_advice_comes_first_and_the_veto_file_so_far_is_kept(tmp_path):
    advice = Advice("No pixel.", ("Lower it.",), (("Threshold", "# Pixels"), ("0.8", "12.5%")))
    page, _ = write(
        tmp_path, [make_entry("1.jpg", NAMES)], advice=advice, veto_text="class: <cow>\n"
    )
    assert page.text.index("No pixel.") < page.text.index("12.5%") < page.text.index("Classes")
    assert "class: <cow>" in page.text
