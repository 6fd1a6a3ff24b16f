"""Rows of the three systems on one ViT, without running them."""

import pytest

from benchmarks import vit_systems
from benchmarks.ablation_runs import CONFIGS
from stseg.config import setup_cfg

ALIKE = (
    *("MODEL.CLIP.NAME", "MODEL.CLIP.PRETRAINED", "SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH"),
    *("DATASETS.TRAIN", "DATASETS.TEST", "INPUT.CROP.SIZE"),
)
TRAINED = {name: row for name, row in vit_systems.ROWS.items() if row.trained}


def built(row, *more):
    return setup_cfg(CONFIGS / row.config, [*row.opts, *more], device="cpu")


def value(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def test_all_learn_the_same_for_as_long_from_one_tower():
    configs = [built(row) for row in TRAINED.values()]
    assert len(configs) == 3
    for key in ALIKE:
        assert len({str(value(cfg, key)) for cfg in configs}) == 1, key


def test_a_row_is_the_system_that_it_says():
    sed, stseg, ebseg = map(built, TRAINED.values())
    assert not sed.MODEL.STSEG.DEA.ENABLED and stseg.MODEL.STSEG.DEA.ENABLED
    assert sed.MODEL.META_ARCHITECTURE == stseg.MODEL.META_ARCHITECTURE == "STSeg"
    assert ebseg.MODEL.META_ARCHITECTURE == "EBSeg"


@pytest.mark.parametrize("name", vit_systems.SHARES)
def test_shares_are_of_evaluation_alone(name):
    row = vit_systems.ROWS[f"ebseg_{name}"]
    assert row.start == "ebseg" and not row.trained and not row.opts
    own = built(row, *row.evaluation).MODEL.EBSEG
    assert (own.ALPHA, own.BETA, own.GAMMA) == vit_systems.SHARES[name][1:]
