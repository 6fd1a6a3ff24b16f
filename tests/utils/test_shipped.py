from pathlib import Path

import pytest

from stseg.utils import config_path

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "configs" / "mini" / "stseg_mini.yaml"


@pytest.mark.parametrize(
    "name",
    ["stseg_mini", "mini/stseg_mini", "configs/mini/stseg_mini.yaml", "stseg_mini.yaml", MINI],
)
def test_a_config_is_found_by_its_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path(name).samefile(MINI)


def test_a_file_here_goes_before_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stseg_mini").mkdir()
    assert config_path("stseg_mini").samefile(MINI)
    (tmp_path / "stseg_mini.yaml").write_text("VERSION: 2")
    assert config_path("stseg_mini.yaml") == Path("stseg_mini.yaml")


def test_names_that_fit_none_or_several_are_told_apart():
    with pytest.raises(
        ValueError, match="expected one of mini/adapt_folder and stseg/adapt_folder"
    ):
        config_path("adapt_folder")
    with pytest.raises(
        FileNotFoundError, match=r"'stseg-mini.yaml'\. Did you mean mini/stseg_mini"
    ):
        config_path("stseg-mini.yaml")
    with pytest.raises(FileNotFoundError, match="Did you mean stseg/sed_convnextL_768"):
        config_path("configs/stseg/sed_convnextL_768.yml")
