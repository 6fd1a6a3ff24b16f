import json
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.label_images import pair_folders
from stseg.evaluation.report import write_report
from stseg.evaluation.report_markdown import bar, plain
from stseg.evaluation.report_pictures import SIDE, draw_pictures, join_pictures
from stseg.evaluation.report_rows import class_lines
from stseg.evaluation.results import make_provenance
from stseg.evaluation.scoring import Score, Settings, score_pairs, summarise
from stseg.evaluation.terminal import class_table
from stseg.structures import Vocabulary
from tests.helpers.label_folders import NAMES, write_folders


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    write_folders(root, 7)
    pairs = pair_folders(root / "pred", root / "gt")
    score = score_pairs(pairs, Settings(len(NAMES), boundary=True, replicates=20))
    provenance = make_provenance(pred=root / "pred", gt=root / "gt")
    vocabulary = Vocabulary.parse(NAMES).with_seen("wall")
    return root, summarise(score, vocabulary, provenance=provenance)


def test_a_page_needs_no_other_file_and_shows_the_worst_first(scored, tmp_path):
    root, result = scored
    files = write_report(tmp_path / "a.html", result, photos=root / "photos", worst=3)
    assert files == [tmp_path / "a.html"] and list(tmp_path.iterdir()) == files
    page = files[0].read_text(encoding="utf-8")
    assert re.findall("<h3>(.*?)</h3>", page) == ["006", "005", "004"]
    sources = re.findall(r'src="(.{22})', page)
    assert sources == ["data:image/jpeg;base64"] * 12
    assert "://" not in page and "<script" not in page
    assert "$" not in page
    assert [c for c in re.findall("<figcaption>(.*?)<", page)[:3]] == [
        "Photo",
        "Label",
        "Prediction",
    ]


def test_a_class_is_told_what_it_is_taken_for_as_a_share_of_its_own_pixels():
    score = Score.empty(Settings(3))
    matrix = ConfusionMatrix(3)
    matrix.counts[:] = [[60, 30, 10], [0, 50, 0], [0, 0, 0]]
    score.add("a", matrix)
    lines = class_lines(summarise(score, Vocabulary.parse("wall; door; sky")))
    told = {line.name: (line.taken_for, line.cells) for line in lines}
    assert told == {
        "wall": ("door (30 %)", ("60.0", "100.0", "100")),
        "door": ("", ("100.0", "62.5", "50")),
    }


def test_of_many_classes_the_terminal_has_the_best_and_more_of_the_worst():
    score = Score.empty(Settings(40))
    matrix = ConfusionMatrix(40)
    matrix.counts[:] = np.diag(np.arange(40, 0, -1))
    matrix.counts[1:, 0] = np.arange(1, 40)  # the later, the more of it is taken for the first
    score.add("a", matrix)
    result = summarise(score, Vocabulary.parse([f"c{k}" for k in range(40)]).with_seen("c0"))
    head, *rows = class_table(result, limit=9).splitlines()
    assert head.split()[:4] == ["class", "IoU", "recall", "precision"]
    assert rows[3] == "... 31 more classes ..." and len(rows) == 10
    assert rows[-1].split() == ["c39", "2.5", "2.5", "100.0", "unseen", "c0", "(98", "%)"]
    assert len(class_table(result, limit=40).splitlines()) == 41


def test_every_class_has_a_bar_of_its_iou_or_is_listed_as_absent(scored, tmp_path):
    _, result = scored
    options = {"worst": 1, "title": "<i>"}
    page = write_report(tmp_path / "a.html", result, **options)[0].read_text(encoding="utf-8")
    assert page.count("&lt;i&gt;") == 2 and "<i>" not in page
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", page)]
    expected = sorted((100 * row["iou"] for row in result.classes if row["truth"]), reverse=True)
    assert widths == pytest.approx(expected, abs=0.051) and len(widths) == 4
    assert "Predicted, but absent from the labels: 2" in page
    assert "a|b &lt;x&gt;" in page and "<x>" not in page
    assert page.count('class="mark seen"') == 1 and page.count('class="mark unseen"') == 3
    text = unescape(page)
    for meaning in result.definitions.values():
        assert meaning in text
    assert result.protocol.truth[:12] in page and "95 % interval" in page


def test_markdown_has_bars_and_pictures_beside_it(scored, tmp_path):
    _, result = scored
    files = write_report(tmp_path / "a b.md", result, worst=2)
    page = files[0].read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*?)\)", page)
    assert links == ["a%20b_images/001.jpg", "a%20b_images/002.jpg"]
    assert [path.relative_to(tmp_path).as_posix() for path in files[1:]] == [
        link.replace("%20", " ") for link in links
    ]
    with Image.open(files[1]) as picture:
        assert picture.width > 3 * picture.height
    assert r"| a\|b \<x\> | unseen | █" in page
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1


def test_bars_grow_by_eighths_of_a_character():
    assert [bar(value) for value in (0, 0.5, 1, 1 / 160)] == ["", "█" * 10, "█" * 20, "▏"]
    assert bar(0.512) == "█" * 10 + "▎"


def test_marks_of_markdown_are_escaped():
    assert plain("a_b|*c*\n# <d>") == r"a\_b\|\*c\* \# \<d\>"


def test_without_the_folders_there_is_a_page_without_pictures(scored, tmp_path, caplog):
    _, result = scored
    result.provenance.update(gt=str(tmp_path / "gone"))
    try:
        page = write_report(tmp_path / "a.html", result)[0].read_text(encoding="utf-8")
    finally:
        result.provenance.update(gt=str(scored[0] / "gt"))
    assert "No pictures" in page and "<img" not in page
    assert "--gt" in caplog.text


def test_folders_of_other_images_are_refused(scored, tmp_path):
    root, result = scored
    write_folders(tmp_path, 2)
    with pytest.raises(ValueError, match="expected the listed images, got none for 00"):
        write_report(tmp_path / "a.html", result, pred=tmp_path / "pred", gt=root / "gt")
    with pytest.raises(FileNotFoundError, match="nowhere: expected a folder of photographs"):
        write_report(tmp_path / "a.html", result, photos=tmp_path / "nowhere")


def test_another_suffix_is_refused_before_work(scored, tmp_path):
    with pytest.raises(ValueError, match=r"a\.pdf: expected a name ending in \.html or \.md"):
        write_report(tmp_path / "a.pdf", scored[1])


def test_a_result_of_nothing_makes_a_page(tmp_path):
    write_folders(tmp_path, 1)
    (tmp_path / "names.json").write_text(json.dumps(["only"]))
    for folder in ("pred", "gt"):
        Image.fromarray(np.full((2, 2), 255, np.uint8)).save(tmp_path / folder / "000.png")
    score = score_pairs(pair_folders(tmp_path / "pred", tmp_path / "gt"), Settings(1))
    result = summarise(score, Vocabulary.parse(["only"]))
    for name in ("a.html", "a.md"):
        folders = {"pred": tmp_path / "pred", "gt": tmp_path / "gt"}
        page = write_report(tmp_path / name, result, **folders)[0].read_text(encoding="utf-8")
        assert "undefined" in page


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (900, 40), (50, 60), (479, 481)])
def test_pictures_have_one_size_and_show_mistakes_where_they_are(shape):
    label = np.zeros(shape, dtype=np.int64)
    label[:, shape[1] // 2 :] = 1
    prediction = np.zeros(shape, dtype=np.int64)
    photo = np.zeros((7, 9, 3), dtype=np.uint8)
    pictures = draw_pictures(prediction, label, ("a", "b"), photo)
    sizes = {picture.pixels.shape for picture in pictures}
    assert len(sizes) == 1 and max(*sizes) <= SIDE and min(*sizes) >= 1
    mistakes = pictures[-1].pixels
    red = (mistakes == (200, 30, 60)).all(axis=2)
    assert red.mean() == pytest.approx((label == 1).mean(), abs=0.05)
    assert red[:, -1].all()
    assert join_pictures(pictures).pixels.shape[0] == mistakes.shape[0]


def test_small_maps_grow_by_a_whole_factor():
    pictures = draw_pictures(np.zeros((7, 9), dtype=int), np.zeros((7, 9), dtype=int), ("a",))
    assert {picture.pixels.shape for picture in pictures} == {(7 * 53, 9 * 53, 3)}


def test_ignored_pixels_are_hatched_in_every_map():
    label = np.full((20, 20), -1)
    label[:10] = 0
    for picture in draw_pictures(np.zeros((20, 20), dtype=int), label, ("a",)):
        below = picture.pixels[picture.pixels.shape[0] // 2 + 1 :]
        assert set(np.unique(below)) == {128, 225}
