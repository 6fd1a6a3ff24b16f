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
