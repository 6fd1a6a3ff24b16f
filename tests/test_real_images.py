"""ConvNeXt-B on real images with real labels: evaluation and 20 training iterations. Slow."""

import json

import pytest
import torch

from stseg.config import setup_cfg
from stseg.engine import Trainer
from tests.helpers.real_root import link_real_root

CONFIG = "configs/stseg/sed_convnextB_768.yaml"
# Random weights: what is tested is the way from files to figures and gradients.
RANDOM = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.TEXT.CACHE_DIR", "", "MODEL.DEVICE", "cpu"]
# A ninth of the published area per image, so that twenty iterations take minutes on two cores.
SMALL = ["MODEL.STSEG.IMAGE_SIZE", [256, 256], "INPUT.CROP.SIZE", [256, 256]]
SMALL += ["INPUT.MIN_SIZE_TRAIN", (256,), "INPUT.MIN_SIZE_TEST", 256]
SMALL += ["DATALOADER.NUM_WORKERS", 0]


@pytest.fixture
def cfg(shared_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(link_real_root(tmp_path, shared_dir)))
    sets = ["DATASETS.TRAIN", ("coco_2017_train_stuff_all_sem_seg",)]
    sets += ["DATASETS.TEST", ("coco_2017_test_stuff_all_sem_seg",)]
    run = ["SOLVER.MAX_ITER", 20, "SOLVER.IMS_PER_BATCH", 1, "SOLVER.LOG_PERIOD", 1]
    run += ["TEST.EVAL_PERIOD", 0, "TEST.PICTURES", 0, "OUTPUT_DIR", str(tmp_path / "out")]
    return setup_cfg(CONFIG, RANDOM + SMALL + sets + run)


@pytest.mark.slow
def test_convnext_b_trains_and_evaluates_on_real_images(cfg, tmp_path):
    (tmp_path / "out").mkdir()
    trainer = Trainer(cfg)
    finite: dict[str, list[bool]] = {}

    def look(optimizer, args, kwargs):
        for name, parameter in trainer.model.named_parameters():
            if parameter.requires_grad:
                grad = parameter.grad
                finite.setdefault(name, []).append(grad is not None and bool(grad.isfinite().all()))

    trainer.optimizer.register_step_pre_hook(look)
    results = trainer.train()
    assert len(finite) == 458  # the trainable tensors of SED's published model
    assert all(all(seen) and len(seen) == 20 for seen in finite.values())
    lines = [json.loads(line) for line in open(tmp_path / "out" / "metrics.json")]
    losses = torch.tensor([line["total_loss"] for line in lines if "total_loss" in line])
    assert len(losses) == 20
    assert losses[-5:].mean() < losses[:5].mean()
    assert 0 <= results["sem_seg"]["mIoU"] <= 100
