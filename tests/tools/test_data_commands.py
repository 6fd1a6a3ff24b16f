import json

import pytest

from stseg.tools.data_commands import data_command as main
from tests.helpers.annotated_data import write_labelme
from tests.helpers.caption_data import write_shards
from tests.helpers.planted import blocks, plant
from tests.helpers.tiny_data import write_folder
from tests.test_package import run_without

ADE = "ade20k_150_test_sem_seg"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    return tmp_path / "root"


def test_good_data_leave_with_0_and_a_table(root, capsys):
    plant(root, ADE, [blocks([2, 1, 255])])
    assert main(["verify", ADE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == [ADE, "good", "1", "2000", "1", "2", "of", "150", "33.3", "%"]


def test_findings_leave_with_1_and_say_what_to_do(root, capsys, tmp_path):
    plant(root, ADE, [blocks([2, 150, 0])])
    assert main(["verify", ADE, "--json", str(tmp_path / "new" / "out.json")]) == 1
    text = capsys.readouterr().out
    assert "FINDING unprepared-ade" in text and "What to do: Prepare them anew" in text
    entry = json.loads((tmp_path / "new" / "out.json").read_text())["data_sets"][0]
    assert entry["name"] == ADE and entry["images"] == 1 and entry["official"] == [2000]
    assert [f["code"] for f in entry["findings"] if f["kind"] == "finding"] == ["unprepared-ade"]
    assert {row["id"] for row in entry["histogram"]} == {0, 2, 150}


def test_what_is_not_there_fails_only_where_it_is_named(root, capsys):
    plant(root, ADE, [blocks([2, 1, 255])])
    assert main(["verify", "all"]) == 0
    assert "not there" in capsys.readouterr().out
    assert main(["verify", "voc_2012_test_sem_seg"]) == 1
    assert "prepare voc" in capsys.readouterr().out


def test_names_and_folders_are_checked_together_and_once(root, tmp_path, capsys):
    plant(root, ADE, [blocks([2, 1, 255])])
    entry = ["--folder", "mine", *write_folder(tmp_path)]
    assert main(["verify", ADE, "all", *entry, "--limit", "1"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:] if "good" in line]
    assert rows == ["mine", ADE]
    assert main(["verify", "all", "voc_2012_test_sem_seg", *entry]) == 1


def test_a_root_without_any_data_set_is_no_success(root, capsys):
    assert main(["verify", "all"]) == 1
    assert "Nothing is there" in capsys.readouterr().out


def test_folders_need_no_registration(tmp_path, capsys):
    entry = ["--folder", "mine", *write_folder(tmp_path)]
    assert main(["verify", *entry]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["show", "mine", *entry, "--n", "2", "--output", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").is_file()


def test_a_registered_data_set_can_be_shown(root, tmp_path, capsys):
    plant(root, ADE, [blocks([2, 1, 255])] * 3)
    assert main(["show", ADE, "--html", str(tmp_path / "new" / "a.html")]) == 0
    assert capsys.readouterr().out.startswith("3 of 3 images")


def test_annotations_of_ones_own_are_checked_and_shown(
    root, tmp_path, capsys, clean_catalog, label_cache_dir
):
    data = ["--data", f"mine=labelme:{write_labelme(tmp_path / 'photos')}"]
    assert main(["verify", *data]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["show", "mine", *data, "--output", str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out.startswith("4 of 4 images")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["verify"], "expected the name of a data set"),
        (["verify", "ade"], "expected a data set, got 'ade'"),
        (["verify", "all", "--jobs", "0"], "a number from 1"),
        (["verify", "m", "--folder", "m", "gone", "", "n.txt"], "image folder gone"),
        (["show", ADE], "expected images"),
        (["show"], "required"),
        ([], "required"),
    ],
)
def test_wrong_use_leaves_with_2_and_says_why(root, capsys, command, message):
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["verify"], ["show"]])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    assert "example" in capsys.readouterr().out


def test_folders_are_checked_and_shown_without_torch(tmp_path):
    entry = ["--folder", "mine", *write_folder(tmp_path)]
    code = f"""
from stseg.tools.data_commands import data_command as main
entry = {entry!r}
assert main(["verify", *entry]) == 0
assert main(["show", "mine", *entry, "--output", {str(tmp_path / "sheet.png")!r}]) == 0
main(["verify", "ade20k_150_test_sem_seg"])
"""
    result = run_without(("torch", "detectron2"), code)
    assert result.returncode == 2 and "needs torch and detectron2" in result.stderr
    assert "mine" in result.stdout and (tmp_path / "sheet.png").is_file()


def test_a_root_of_downloads_alone_is_told_the_commands(root, capsys):
    (root / "ADEChallengeData2016" / "images" / "validation").mkdir(parents=True)
    assert main(["verify", "all"]) == 1
    text = capsys.readouterr().out
    assert f"stseg data prepare ade20k_150 --root {root}" in text and "prepare voc" not in text


def test_an_empty_root_is_told_every_command_once(root, capsys):
    assert main(["verify", "all"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "  stseg data" in line]
    assert len(lines) == len(set(lines)) == 8 and any("small_world --out" in x for x in lines)


def test_what_was_prepared_keeps_its_exit_code_beside_what_was_not(root, capsys):
    plant(root, ADE, [blocks([2, 1, 255])])
    (root / "cityscapes" / "leftImg8bit" / "val").mkdir(parents=True)
    assert main(["verify", "all"]) == 0
    assert "stseg data prepare cityscapes" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--folder", "--data"])
def test_names_that_look_like_several_are_told(tmp_path, flag, caplog):
    images, labels, names = write_folder(tmp_path)
    with open(names, "w") as file:
        json.dump({"classes": ["sky | road", "path", "tree", "car"]}, file)
    entry = ["mine", images, labels, names]
    if flag == "--data":
        entry = [f"mine2=folder:{tmp_path}"]
    assert main(["verify", flag, *entry]) == 0
    assert "'sky | road' is ONE name" in caplog.text


def test_captions_have_no_label_maps_to_check(tmp_path, capsys, clean_catalog, label_cache_dir):
    write_shards(tmp_path / "set")
    with pytest.raises(SystemExit, match="2"):
        main(["verify", "--data", f"pairs_to_check=pairs:{tmp_path}/set"])
    assert "expected one with classes, got pairs of image and caption" in capsys.readouterr().err
