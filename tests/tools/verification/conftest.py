import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data root, named by DETECTRON2_DATASETS."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    return tmp_path / "root"
