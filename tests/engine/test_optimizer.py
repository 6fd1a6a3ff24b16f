import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch import nn

from stseg.config import add_stseg_config, setup_cfg
from stseg.engine.optimizer import build_lr_scheduler, build_optimizer, describe_parameters


class ChannelLayerNorm(nn.Module):
    """Like the decoder's ConvNeXt-block norm: not one of torch's norms."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


class Model(nn.Module):
    lr_multipliers = (("image_encoder", 0.01),)

    def __init__(self):
        super().__init__()
        self.image_encoder = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.image_encoder_adapter = nn.Linear(4, 4)
        self.text_encoder = nn.Linear(4, 4).requires_grad_(False)
        self.head = nn.Sequential(nn.GroupNorm(2, 4), ChannelLayerNorm(), nn.Conv2d(4, 4, 1))
        self.gamma = nn.Parameter(torch.ones(4))


def make_cfg(*opts):
    cfg = get_cfg()
    add_stseg_config(cfg)
    cfg.merge_from_list(list(opts))
    return cfg


def settings(model, optimizer):
    by_param = {
        p: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]
    }
    return {name: by_param.get(p) for name, p in model.named_parameters()}


def test_groups_have_the_rates_and_decays_of_sed():
    model = Model()
    found = settings(model, build_optimizer(make_cfg(), model))
    assert (
        found["image_encoder.0.weight"]
        == found["image_encoder.0.bias"]
        == pytest.approx((2e-6, 1e-4))
    )
    assert found["image_encoder.1.weight"] == pytest.approx((2e-6, 0))
    assert found["head.0.weight"] == found["head.0.bias"] == (2e-4, 0)
    assert found["head.1.weight"] == found["head.2.bias"] == found["gamma"] == (2e-4, 1e-4)
    assert found["image_encoder_adapter.weight"] == (2e-4, 1e-4)
    assert found["text_encoder.weight"] is None


def test_what_a_model_wants_undecayed_keeps_its_rate():
    model = Model()
    model.undecayed = ("image_encoder.0", "*mma")
    found = settings(model, build_optimizer(make_cfg(), model))
    assert found["image_encoder.0.weight"] == pytest.approx((2e-6, 0))
    assert found["gamma"] == found["head.0.weight"] == (2e-4, 0)
    assert found["head.1.weight"] == (2e-4, 1e-4)


@pytest.mark.parametrize(
    "clip, expected",
    [
        ("convnext_base_w_320", [(261, 88181632), (82, 40192), (91, 1375052), (24, 1344)]),
        ("convnext_large_d_320", [(263, 199710528), (82, 60288), (91, 1471820), (24, 1344)]),
    ],
)
def test_parity_of_group_sizes_with_seds_table(monkeypatch, clip, expected):
    cfg = make_cfg(
        "MODEL.CLIP.NAME", clip, "MODEL.CLIP.PRETRAINED", "random",
        "MODEL.STSEG.DEA.ENABLED", False, "MODEL.DEVICE", "meta",
    )  # fmt: skip
    # Shapes without numbers, which open_clip would try to move to the CPU.
    monkeypatch.setattr(nn.Module, "to", lambda module, *args, **kwargs: module)
    with torch.device("meta"):
        groups = build_optimizer(cfg, build_model(cfg)).param_groups
    found = {
        (round(group["lr"] / 2e-4, 6), group["weight_decay"]): (
            len(group["params"]),
            sum(p.numel() for p in group["params"]),
        )
        for group in groups
    }
    assert [found[key] for key in ((0.01, 1e-4), (0.01, 0), (1, 1e-4), (1, 0))] == expected


def test_the_last_matching_multiplier_wins():
    model = Model()
    multipliers = [["head", 0.5], ["*.bias", 2.0], ["head.2.bias", 3.0]]  # after the model's own
    found = settings(model, build_optimizer(make_cfg("SOLVER.LR_MULTIPLIERS", multipliers), model))
    rates = {name: value[0] / 2e-4 for name, value in found.items() if value}
    assert rates["head.2.weight"] == pytest.approx(0.5)
    assert rates["head.0.bias"] == pytest.approx(2.0)
    assert rates["head.2.bias"] == pytest.approx(3.0)
    assert rates["gamma"] == pytest.approx(1.0)
    assert rates["image_encoder.0.weight"] == pytest.approx(0.01)
    assert rates["image_encoder.0.bias"] == pytest.approx(2.0)


def test_a_model_that_says_nothing_learns_at_one_rate():
    model = nn.ModuleDict({"image_encoder": nn.Linear(2, 2)})
    (group,) = build_optimizer(make_cfg(), model).param_groups
    assert group["lr"] == 2e-4


@pytest.mark.parametrize(
    "multipliers, message",
    [
        (
            [["sam", 0.1]],
            "got 'sam', which matches none. The parts of this model are gamma, head, ",
        ),
        ([["head"]], r"expected a list of \[name, factor\]"),
    ],
)
def test_a_faulty_multiplier_is_named(multipliers, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(make_cfg("SOLVER.LR_MULTIPLIERS", multipliers), Model())


def test_a_model_in_which_nothing_learns_is_refused():
    with pytest.raises(ValueError, match="at least one parameter that learns"):
        build_optimizer(make_cfg(), Model().requires_grad_(False))


def test_the_table_shows_every_parameter_with_its_group_or_that_it_is_frozen():
    model = Model()
    model.head[0].requires_grad_(False)
    optimizer = build_optimizer(make_cfg(), model)
    line, table = describe_parameters(model, optimizer)
    rows = {row[0]: row[1:] for row in map(str.split, table.splitlines()[4:])}
    assert list(rows) == [name for name, _ in model.named_parameters()]
    for name, param in model.named_parameters():
        group = rows[name][-3:]
        assert (rows[name][-1] == "frozen") == (not param.requires_grad)
        if param.requires_grad:
            used = optimizer.param_groups[int(group[0])]
            assert any(param is p for p in used["params"])
            told = [float(value) for value in group[1:]]
            assert told == pytest.approx([used["lr"], used["weight_decay"]])
    assert "parameters learn, lr 2e-06 to 0.0002" in line


@pytest.mark.parametrize(
    "kind, expected",
    [("full_model", [0.1 / 2**0.5] * 2), ("norm", [0.1, 0.1]), ("value", [0.1, 0.1])],
)
def test_gradients_are_clipped_before_the_step(kind, expected):
    model = nn.ParameterList([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))])
    cfg = make_cfg("SOLVER.LR_MULTIPLIERS", [], "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 0.1
    optimizer = build_optimizer(cfg, model)
    for param in model:
        param.grad = torch.full((1,), 7.0)
    optimizer.step()
    assert [p.grad.item() for p in model] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "opts, expected",
    [
        ([], [1, 0.854, 0.5, 0.146]),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"], [1, 0.772, 0.536, 0.287]),
        (["SOLVER.WARMUP_ITERS", 40, "SOLVER.WARMUP_FACTOR", 0.0], [0, 0.409, 0.5, 0.146]),
    ],
)
def test_the_schedule_has_the_factors_of_sed_at_every_quarter(opts, expected):
    cfg = make_cfg("SOLVER.MAX_ITER", 100, *opts)
    model = Model()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    factors = []
    for _ in range(100):
        factors.append(optimizer.param_groups[-1]["lr"] / optimizer.param_groups[-1]["initial_lr"])
        optimizer.step()
        scheduler.step()
    assert factors[::25] == pytest.approx(expected, abs=1e-3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_warm_up_ends_at_its_iteration():
    cfg = make_cfg("SOLVER.MAX_ITER", 10, "SOLVER.WARMUP_ITERS", 4, "SOLVER.WARMUP_FACTOR", 0.1)
    cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.POLY_LR_POWER = "WarmupPolyLR", 1.0
    optimizer = build_optimizer(cfg, Model())
    scheduler = build_lr_scheduler(cfg, optimizer)
    factors = []
    for _ in range(10):
        group = optimizer.param_groups[-1]
        factors.append(group["lr"] / group["initial_lr"])
        optimizer.step()
        scheduler.step()
    # A straight line from 0.1 to what the polynomial has at iteration 4, then the polynomial.
    warm = [0.1 + (0.6 - 0.1) * k / 4 for k in range(4)]
    assert factors == pytest.approx([*warm, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], abs=1e-6)


def factors_of(cfg, iterations):
    model = Model()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    factors = []
    for _ in range(iterations):
        group = optimizer.param_groups[-1]
        factors.append(group["lr"] / group["initial_lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    "name", ["configs/stseg/adapt_ade20k_150.yaml", "configs/mini/adapt_small_world.yaml"]
)
def test_every_round_of_the_shipped_configs_has_a_schedule_of_its_own_and_warms_up(name):
    cfg = setup_cfg(name, ["MODEL.DEVICE", "cpu"])
    rounds, iters = cfg.SELF_TRAINING.ROUNDS, cfg.SELF_TRAINING.ROUND_ITERS
    small = cfg.clone()
    small.defrost()
    small.SOLVER.CLIP_GRADIENTS.ENABLED = False
    factors = factors_of(small, (rounds + 1) * iters)  # one more, in place of one that harmed
    each = [factors[k * iters : (k + 1) * iters] for k in range(rounds + 1)]
    for part in each:
        assert part == pytest.approx(each[0], abs=1e-12)
    warm = -(-iters // 10)
    assert each[0][0] == pytest.approx(cfg.SOLVER.WARMUP_FACTOR)
    rising = each[0][: warm + 1]
    assert rising == sorted(rising) and max(each[0]) == rising[-1] > 0.95
    assert each[0][-1] < 0.01
    assert sum(each[0]) / iters == pytest.approx(0.45, abs=0.02)  # of all learning, in each round


def test_a_round_without_warm_up_begins_at_the_full_rate():
    opts = ["SELF_TRAINING.ENABLED", True, "SELF_TRAINING.ROUND_ITERS", 10, "SOLVER.MAX_ITER", 30]
    factors = factors_of(make_cfg(*opts, "SELF_TRAINING.ROUND_WARMUP", 0.0), 20)
    assert factors[0] == factors[10] == 1
    later = factors_of(make_cfg(*opts, "SELF_TRAINING.ROUNDS", 0), 20)  # one schedule: no rounds
    assert later[10] == pytest.approx(0.75)
