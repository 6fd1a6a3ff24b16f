"""Keys that cannot work are refused, and those that nothing reads are told."""

import inspect
from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.evaluation import verify_results
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from stseg.config import leaves, setup_cfg, unread_changes
from stseg.config.unread import READ, unread_keys

ROOT = Path(__file__).resolve().parents[2]
OURS = "\n".join(path.read_text() for path in (ROOT / "stseg").rglob("*.py"))
THEIRS = "\n".join(
    inspect.getsource(part)
    for part in (
        DefaultTrainer.auto_scale_workers,
        DefaultTrainer.test,
        build_lr_scheduler,
        build_model,
        default_setup,
        verify_results,
    )
)


@pytest.mark.parametrize("key", sorted(READ - {"VERSION"}))
def test_every_key_said_to_be_read_is_read_somewhere(key):
    *_, name = key.split(".")
    assert f".{name}" in OURS or f".{name}" in THEIRS or f'"{name}"' in THEIRS


def test_every_other_key_of_detectron2_is_told_when_it_is_changed():
    keys = unread_keys()
    assert len(keys) + len(READ) == len(list(leaves(get_cfg())))
    assert not [key for key in keys if f"cfg.{key}" in OURS]
    cfg = setup_cfg().clone()
    cfg.defrost()
    for key in keys:
        node = cfg
        *above, name = key.split(".")
        for part in above:
            node = node[part]
        dict.__setitem__(node, name, "changed")
    assert [line.split(":")[0] for line in unread_changes(cfg)] == keys


@pytest.mark.parametrize("key", ["TEST.AUG.ENABLED", "MODEL.MASK_ON", "TEST.PRECISE_BN.ENABLED"])
def test_a_key_in_vain_is_named_with_its_value(key):
    (line,) = unread_changes(setup_cfg(opts=[key, "True"]))
    assert line.startswith(f"{key}: True changes nothing")


def test_nothing_is_said_of_what_others_read():
    opts = ["MODEL.BACKBONE.FREEZE_AT", "0", "MODEL.META_ARCHITECTURE", "GeneralizedRCNN"]
    assert unread_changes(setup_cfg(opts=opts)) == []
    opts = ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7", "MODEL.SEM_SEG_HEAD.NAME", "Mine"]
    assert unread_changes(setup_cfg(opts=opts)) == []
    opts = ["INPUT.MASK_FORMAT", "bitmask", "INPUT.MAPPER_NAME", "Mine", "TEST.AUG.FLIP", "False"]
    assert [line[:13] for line in unread_changes(setup_cfg(opts=opts))] == ["TEST.AUG.FLIP"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.stem)
def test_no_config_that_ships_sets_a_key_in_vain(path):
    assert unread_changes(setup_cfg(path)) == []


@pytest.mark.parametrize(
    "key, value",
    [
        ("INPUT.MIN_SIZE_TEST", "-1"),
        ("INPUT.MIN_SIZE_TRAIN", "(640, -1)"),
        ("INPUT.MIN_SIZE_TRAIN", "()"),
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "sometimes"),
        ("INPUT.MAX_SIZE_TEST", "0"),
        ("INPUT.CROP.SIZE", "['a', 3]"),
        ("MODEL.STSEG.IMAGE_SIZE", "[0, 0]"),
        ("MODEL.STSEG.IMAGE_SIZE", "[768, None]"),
        ("MODEL.STSEG.DEA.NUM_HEADS", "0"),
        ("MODEL.SEM_SEG_HEAD.KERNEL_SIZE", "4"),
        ("MODEL.SEM_SEG_HEAD.DECODER_DIMS", "[64, 32]"),
        ("MODEL.SEM_SEG_HEAD.DECODER_DIMS", "[64, 32, 15]"),
        ("MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS", "[32, 16, -8]"),
        ("MODEL.TEXT.TEMPLATES", "[]"),
        ("DATALOADER.NUM_WORKERS", "-1"),
        ("SOLVER.LR_MULTIPLIERS", "[['head', -0.1]]"),
        ("SOLVER.LR_MULTIPLIERS", "[['head']]"),
        ("SOLVER.LR_MULTIPLIERS", "[['head', 'fast']]"),
        ("SOLVER.LR_MULTIPLIERS", "['head']"),
        ("SOLVER.BASE_LR", "1e999"),
        ("SOLVER.BASE_LR_END", "1.0"),
        ("SOLVER.BIAS_LR_FACTOR", "-1.0"),
        ("SOLVER.WARMUP_METHOD", "none"),
        ("SOLVER.STEPS", "(10, 5)"),
        ("SOLVER.WEIGHT_DECAY_NORM", "-1.0"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=f"^{key}: expected "):
        setup_cfg(opts=[key, value])


@pytest.mark.parametrize(
    "key, value",
    [
        ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "1e999"),
        ("SOLVER.LR_MULTIPLIERS", "[['head', 0]]"),
        ("SOLVER.WEIGHT_DECAY_BIAS", "0.0"),
        ("INPUT.MIN_SIZE_TEST", "0"),
    ],
)
def test_values_at_the_edge_are_taken(key, value):
    setup_cfg(opts=[key, value])


@pytest.mark.parametrize("name", ["banana", "gpu", "cuda:x", "0", "CUDA"])
def test_a_device_that_does_not_exist_is_refused(name):
    with pytest.raises(ValueError, match=f"MODEL.DEVICE: expected cpu, cuda, .* got '{name}'"):
        setup_cfg(opts=["MODEL.DEVICE", f"'{name}'"])


@pytest.mark.parametrize("name", ["cuda:99", "xpu", "mtia"])
def test_a_device_that_is_not_here_is_the_cpu(name, caplog):
    assert setup_cfg(device=name).MODEL.DEVICE == "cpu"
    assert f"{name!r} is not available here" in caplog.text


@pytest.mark.parametrize("key", ["MODEL.META_ARCHITECTURE", "MODEL.SEM_SEG_HEAD.NAME"])
def test_a_part_that_nobody_registered_is_named(key):
    from stseg.modeling import build_model as build

    cfg = setup_cfg("stseg_mini", [key, "Nope", "MODEL.WEIGHTS", "random"], device="cpu")
    with pytest.raises(ValueError, match=f"{key}: expected one of .*, got 'Nope'"):
        build(cfg)
