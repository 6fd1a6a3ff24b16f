import numpy as np
import pytest
from PIL import Image

from stseg.evaluation.boundary import BoundaryCounts
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.evaluation.label_images import pair_folders
from stseg.evaluation.scoring import Score, Settings, score_pairs, summarise
from stseg.structures import Vocabulary
from tests.helpers.label_folders import NAMES, write_folders


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    return root, write_folders(root, 9)


def score(root, jobs=1, **settings):
    pairs = pair_folders(root / "pred", root / "gt")
    return score_pairs(pairs, Settings(len(NAMES), **settings), jobs=jobs)


def test_a_folder_gives_the_counts_of_all_its_pixels(scored):
    root, pixels = scored
    expected = ConfusionMatrix(len(NAMES))
    expected.update(pixels["prediction"], pixels["label"], 255)
    found = score(root)
    assert np.array_equal(found.matrix.counts, expected.counts)
    assert found.matrix.counts.sum() < pixels["label"].size
    assert [row["name"] for row in found.images] == [f"{k:03d}" for k in range(9)]
    assert found.images[0] == {"name": "000", "mIoU_gt": 1.0, "pACC": 1.0}
    assert found.images[8]["pACC"] < 0.75


@pytest.mark.parametrize("jobs", [2, 5])
def test_threads_change_nothing(scored, jobs):
    root, _ = scored
    one, many = (score(root, n, boundary=True, replicates=20) for n in (1, jobs))
    assert np.array_equal(one.matrix.counts, many.matrix.counts)
    assert one.images == many.images
    assert one.boundary.summary() == many.boundary.summary()
    assert one.bootstrap.interval() == many.bootstrap.interval()


def test_boundaries_and_intervals_are_those_of_the_core(scored):
    root, _ = scored
    found = score(root, boundary=True, replicates=50)
    counts = BoundaryCounts(len(NAMES))
    for k in range(9):
        prediction, label = (
            np.array(Image.open(root / folder / f"{k:03d}.png")) for folder in ("pred", "gt")
        )
        counts.update(prediction, label, 255)
    result = summarise(found, Vocabulary.parse(NAMES))
    assert result.figures["boundary_mIoU_gt"] == counts.summary()["boundary_mIoU_gt"]
    low, high = result.bootstrap["intervals"]["mIoU_gt"]
    assert low < result.figures["mIoU_gt"] < high
    means = result.bootstrap["means"]["mIoU_gt"]
    assert len(means) == 51 and means[0] == pytest.approx(result.figures["mIoU_gt"])


def test_a_result_holds_both_means_and_a_row_per_class(scored):
    root, _ = scored
    vocabulary = Vocabulary.parse(NAMES).with_seen("sky; cat")
    interest = np.array([True, False, False, False, True, False])
    found = score(root)
    result = summarise(found, vocabulary, interest=interest, data_set="toy")
    figures = result.figures
    assert figures["mIoU_gt"] > figures["mIoU_union"]
    assert figures["seen_mIoU"] == result.classes[1]["iou"]
    assert figures["interest_mIoU"] == result.classes[0]["iou"]
    assert set(figures) == set(result.definitions)
    assert [row["name"] for row in result.classes] == list(NAMES)
    assert [row["seen"] for row in result.classes] == [False, True, False, False, True, False]
    assert np.isnan(result.classes[4]["iou"]) and result.classes[4]["predicted"] > 0
    assert result.protocol.data_set == "toy" and result.protocol.num_images == 9
    mistakes = found.matrix.counts[0].copy()
    mistakes[0] = 0
    assert result.classes[0]["taken_for"] == mistakes.argmax()
    assert result.classes[0]["taken_pixels"] == mistakes.max()
    assert result.confusions[0]["pixels"] == max(row["taken_pixels"] for row in result.classes)


def test_an_image_without_a_scored_pixel_has_no_figures(tmp_path):
    write_folders(tmp_path, 1)
    Image.fromarray(np.full((20, 30), 255, dtype=np.uint8)).save(tmp_path / "gt" / "000.png")
    found = score(tmp_path)
    assert found.matrix.counts.sum() == 0
    assert np.isnan(found.images[0]["mIoU_gt"]) and np.isnan(found.images[0]["pACC"])
    assert np.isnan(summarise(found, Vocabulary.parse(NAMES)).figures["mIoU_gt"])


def test_a_faulty_file_stops_the_run_by_name(tmp_path):
    write_folders(tmp_path, 5)
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(tmp_path / "pred" / "003.png")
    for jobs in (1, 3):
        with pytest.raises(ValueError, match=r"003\.png.*mode RGB"):
            score(tmp_path, jobs)


def test_progress_is_told(scored):
    root, _ = scored
    seen = []
    pairs = pair_folders(root / "pred", root / "gt")
    score_pairs(pairs, Settings(len(NAMES)), progress=seen.append)
    assert seen == list(range(1, 10))


@pytest.mark.parametrize("ignore", [-1, 70000])
def test_an_ignored_id_that_no_file_can_hold_is_refused(ignore):
    with pytest.raises(ValueError, match="Ignored id"):
        Settings(3, ignore=(ignore,))


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="jobs"):
        score_pairs([], Settings(3), jobs=0)


def test_similarity_has_the_truth_in_its_rows():
    score = Score.empty(Settings(3))
    matrix = ConfusionMatrix(3)
    matrix.counts[:] = [[60, 40, 0], [0, 50, 0], [10, 0, 40]]
    score.add("a", matrix)
    near = np.eye(3)
    near[0, 1] = 0.5  # "door" for a wall is half right, "wall" for a door is not
    result = summarise(score, Vocabulary.parse("wall; door; sky"), similarity=near)
    assert result.figures["open_mIoU_gt"] == pytest.approx(
        np.mean([80 / (100 + 10), 50 / (50 + 20), 40 / 50])
    )
    assert result.similarity == {"true": [0], "predicted": [1], "credit": [0.5]}
