import pytest
from detectron2.config import get_cfg

from stseg.config.data import add_data_config


@pytest.fixture
def data_cfg():
    """Detectron2's config with the data keys, made small and quick."""
    cfg = get_cfg()
    add_data_config(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (32, 40)
    cfg.INPUT.CROP.SIZE = [32, 32]
    cfg.INPUT.MIN_SIZE_TEST = 24
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SEED = 7
    return cfg


@pytest.fixture
def clean_catalog():
    """Forget the data sets a test registers."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from stseg.data.datasets import folders

    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name)
        folders._registered.pop(name, None)


@pytest.fixture
def label_cache_dir(tmp_path, monkeypatch):
    """A label cache of the test's own."""
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
