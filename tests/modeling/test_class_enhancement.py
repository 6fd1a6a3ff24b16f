"""Class enhancement losses: what they say, restated in loops, and that nothing breaks them."""

import math

import pytest
import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.nn import functional as F

from stseg.config import setup_cfg
from stseg.engine.arguments import parse_args
from stseg.engine.processes import launch
from stseg.modeling.losses import (
    ENHANCEMENT_LOSS_REGISTRY,
    AbsentPushOff,
    ClassPresence,
    ListRanking,
    MaskTargets,
    Match,
    PairRanking,
    ProposalScores,
    build_enhancements,
    centred_cosines,
)

LOSSES = [
    ClassPresence(),
    AbsentPushOff(),
    ListRanking(temperature=0.1),
    PairRanking(neighbours=3, gap=0.02, share=0.5),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda x: type(x).__name__)
#: Classes of each image's true masks; the second image has none.
LABELS = ((4, 1), (), (0, 2, 5))


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def matches_of(labels, queries=5):
    """Pairs of random queries with the masks in reverse, as many as fit."""
    counts = [min(queries, len(ids)) for ids in labels]
    chosen = [torch.randperm(queries)[:n].sort().values for n in counts]
    return [Match(x, torch.arange(n).flip(0)) for x, n in zip(chosen, counts, strict=True)]


def scores_of(labels=LABELS, queries=5, classes=6, seed=0, **changes):
    """Scores in float64 whose cosines and bias learn; class 3 is unknown after the first image."""
    torch.manual_seed(seed)
    vectors = F.normalize(unit(classes, 7) + 1, dim=-1)
    cosines = unit(len(labels), queries, 7) @ vectors.T
    present = torch.zeros(len(labels), classes, dtype=torch.bool)
    for row, ids in zip(present, labels, strict=True):
        row[list(ids)] = True
    absent = ~present
    absent[1:, 3:4] = False
    known = torch.rand(len(labels), queries, dtype=torch.float64)
    known[:, 0] = 0
    targets = [
        MaskTargets(torch.zeros(len(ids), 2, 2) > 0, torch.tensor(ids, dtype=torch.long))
        for ids in labels
    ]
    made = ProposalScores(
        cosines=cosines.requires_grad_(),
        matches=matches_of(labels, queries),
        targets=targets,
        known=known,
        vectors=vectors,
        present=present,
        absent=absent,
        bias=torch.tensor(0.2, dtype=torch.float64, requires_grad=True),
        softness=0.05,
    )
    return made._replace(**changes)


def gradients(loss, scores):
    """Of cosines and bias; None for what takes no part."""
    return torch.autograd.grad(loss, (scores.cosines, scores.bias), allow_unused=True)


# --- the same in loops ---


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def log_softmax(values):
    top = max(values)
    total = math.log(sum(math.exp(v - top) for v in values)) + top
    return [v - total for v in values]


def mean(values):
    return sum(values) / len(values) if values else 0.0


def pairs_of(s):
    """(cosines, class) of every pair."""
    for image, (match, target) in enumerate(zip(s.matches, s.targets, strict=True)):
        for query, mask in zip(match.queries.tolist(), match.targets.tolist(), strict=True):
            yield s.cosines[image, query].tolist(), int(target.labels[mask])


def names_of(s):
    """Centred cosines as lists."""
    rows = s.vectors.tolist()
    middle = [mean(column) for column in zip(*rows, strict=True)]
    rows = [[x - m for x, m in zip(row, middle, strict=True)] for row in rows]
    rows = [[x / math.hypot(*row) for x in row] for row in rows]
    return [[sum(map(float.__mul__, a, b)) for b in rows] for a in rows]


def presence_in_loops(s):
    images = []
    for image in range(len(s.cosines)):
        of_kind = {True: [], False: []}
        for c in range(s.cosines.shape[2]):
            column = s.cosines[image, :, c].tolist()
            exponentials = mean([math.exp(x / s.softness) for x in column])
            z = (s.softness * math.log(exponentials) - s.bias.item()) / s.softness
            if s.present[image, c]:
                of_kind[True].append(softplus(-z))
            elif s.absent[image, c]:
                of_kind[False].append(softplus(z))
        images.append(mean(of_kind[True]) + mean(of_kind[False]))
    return mean(images)


def absent_in_loops(s):
    images = []
    for image, match in enumerate(s.matches):
        total = weights = 0
        for query in set(range(s.cosines.shape[1])) - set(match.queries.tolist()):
            weight = 1.0 if s.known is None else float(s.known[image, query])
            for c in s.absent[image].nonzero()[:, 0].tolist():
                z = (s.cosines[image, query, c].item() - s.bias.item()) / s.softness
                total, weights = total + weight * softplus(z), weights + weight
        images.append(total / weights if weights else 0)
    return mean(images)


def list_in_loops(s):
    found = []
    for row, y in pairs_of(s):
        wanted = log_softmax([x / 0.1 for x in names_of(s)[y]])
        got = log_softmax([x / 0.1 for x in row])
        found.append(sum(math.exp(p) * (p - q) for p, q in zip(wanted, got, strict=True)))
    return mean(found)


def pairs_in_loops(s):
    found = []
    for row, y in pairs_of(s):
        names = names_of(s)[y]
        others = sorted((c for c in range(len(row)) if c != y), key=lambda c: -names[c])
        lacking = []
        for i in [y, *others[:3]]:
            for j in [y, *others[:3]]:
                if names[i] - names[j] > 0.02:
                    lacking.append(max(0, 0.5 * (names[i] - names[j]) - (row[i] - row[j])))
        found.append(mean(lacking))
    return mean(found)


IN_LOOPS = [presence_in_loops, absent_in_loops, list_in_loops, pairs_in_loops]


@pytest.mark.parametrize("changes", [{}, {"known": None}, {"softness": 0.3}])
@pytest.mark.parametrize("loss, restated", zip(LOSSES, IN_LOOPS, strict=True))
def test_a_loss_is_what_loops_make_of_it(loss, restated, changes):
    s = scores_of(**changes)
    found = loss(s)
    assert found.dtype == torch.float64 and found.shape == ()
    assert found.item() == pytest.approx(restated(s), rel=1e-7) and found > 0.01
    single = loss(s._replace(cosines=s.cosines.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, found.float(), rtol=1e-4, atol=1e-5)


@every_loss
def test_gradients_are_those_of_the_values(loss):
    s = scores_of()
    assert torch.autograd.gradcheck(
        lambda cosines, bias: loss(s._replace(cosines=cosines, bias=bias)), (s.cosines, s.bias)
    )


@every_loss
def test_names_get_no_gradient(loss):
    s = scores_of()
    loss(s._replace(vectors=s.vectors.requires_grad_())).backward()
    assert s.vectors.grad is None


# --- order ---


@every_loss
def test_the_order_of_proposals_does_not_matter(loss):
    s = scores_of()
    order = torch.randperm(5)
    moved = s._replace(
        cosines=s.cosines[:, order],
        known=s.known[:, order],
        matches=[Match(order.argsort()[m.queries], m.targets) for m in s.matches],
    )
    torch.testing.assert_close(loss(moved), loss(s))


@every_loss
def test_the_order_of_classes_does_not_matter(loss):
    s = scores_of()
    order = torch.randperm(6)
    moved = s._replace(
        cosines=s.cosines[..., order],
        vectors=s.vectors[order],
        present=s.present[:, order],
        absent=s.absent[:, order],
        targets=[t._replace(labels=order.argsort()[t.labels]) for t in s.targets],
    )
    torch.testing.assert_close(loss(moved), loss(s))


# --- who learns ---


def test_only_matched_proposals_learn_a_ranking():
    s = scores_of()
    (grad, bias) = gradients(ListRanking(temperature=0.1)(s), s)
    assert bias is None
    assert ((grad != 0).all(-1) == ~s.unmatched()).all()
    assert not grad[s.unmatched()].any()


def test_proposals_without_a_pair_learn_of_absent_classes_where_they_are_known():
    s = scores_of()
    grad, bias = gradients(AbsentPushOff()(s), s)
    learns = (s.unmatched() & (s.known > 0))[:, :, None] & s.absent[:, None]
    assert ((grad != 0) == learns).all() and (grad >= 0).all() and bias < 0


def test_of_unknown_classes_presence_says_nothing():
    s = scores_of()
    grad, _ = gradients(ClassPresence()(s), s)
    of_class = grad.sum(1)
    assert ((of_class < 0) == s.present).all() and ((of_class > 0) == s.absent).all()


def test_ranking_by_lists_is_learnt_when_cosines_are_those_of_names():
    s = scores_of()
    rows = torch.zeros_like(s.cosines)
    for row, match, target in zip(rows, s.matches, s.targets, strict=True):
        row[match.queries] = centred_cosines(s.vectors)[target.labels[match.targets]]
    for loss in LOSSES[2:]:
        assert loss(s._replace(cosines=rows)).abs() < 1e-12


# --- nothing to learn ---

EMPTY = {
    "no pairs": {"labels": ((), ())},
    "no image": {"labels": ((), ()), "present": torch.zeros(2, 6) > 0,
                 "absent": torch.zeros(2, 6) > 0},
    "no absent class": {"absent": torch.zeros(3, 6) > 0},
    "nothing known": {"known": torch.zeros(3, 5)},
    "one class": {"labels": ((0,), ()), "classes": 1},
    "one query": {"labels": ((3,), (1, 2)), "queries": 1},
    "equal names": {"vectors": torch.ones(6, 7) / math.sqrt(7)},
    "names almost equal": {"vectors": F.normalize(1 + 1e-8 * torch.randn(6, 7), dim=-1)},
}  # fmt: skip
#: Losses that are 0 then, by their place.
ZERO = {
    "no pairs": {2, 3},
    "no image": {0, 1, 2, 3},
    "no absent class": {1},
    "nothing known": {1},
    "one class": {2, 3},
    "one query": {1},
    "equal names": {3},
    "names almost equal": {3},
}


@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("place", range(len(LOSSES)), ids=lambda i: type(LOSSES[i]).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_there_is_nothing_to_learn_a_loss_is_0_with_a_graph(case, place, dtype):
    s = scores_of(**EMPTY[case])
    s = s._replace(cosines=s.cosines.detach().to(dtype).requires_grad_())
    loss = LOSSES[place](s)
    of_cosines, of_bias = gradients(loss, s)
    assert loss.isfinite() and of_cosines.isfinite().all()
    assert (of_bias is not None) == (place in (0, 1))
    assert of_bias is None or of_bias.isfinite()
    assert (loss == 0) == (place in ZERO[case])
    if loss == 0:
        assert not of_cosines.any() and not of_bias


@every_loss
def test_extreme_cosines_are_finite(loss):
    s = scores_of(softness=0.001)
    s = s._replace(cosines=s.cosines.detach().float().sign().requires_grad_())
    found = loss(s)
    assert all(x.isfinite().all() for x in (found, *gradients(found, s)) if x is not None)


@every_loss
def test_half_precision_scores_give_float32_losses(loss):
    s = scores_of()
    half = s._replace(cosines=s.cosines.bfloat16(), bias=s.bias.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, loss(s._replace(cosines=half.cosines.float(), bias=half.bias.float()))
    )


# --- names ---


def test_what_names_share_is_taken_off():
    near = centred_cosines(F.normalize(unit(5, 8) * 0.1 + 1, dim=-1))
    assert near.min() < -0.2 and torch.allclose(near.diagonal(), torch.ones(5).double())
    assert centred_cosines(unit(1, 8)).abs().max() < 1e-6
    assert centred_cosines(unit(1, 8).expand(4, -1).float()).abs().max() < 1e-6


def test_equal_names_demand_nothing_of_each_other():
    vectors = unit(6, 7)
    vectors[:4] = vectors[4].clone()
    s = scores_of(labels=((4,), (0, 2)), vectors=vectors)
    assert PairRanking(neighbours=1)(s) == PairRanking(neighbours=4)(s) == 0
    assert PairRanking(neighbours=5)(s) > 0


# --- processes ---


def grads_by_loss(images):
    """Gradients of a shared weight and bias by each loss, on some of four images."""
    whole = scores_of(labels=((4, 1, 0), (2, 3), (), (5,)))
    weight = unit(7, 7).requires_grad_()
    features = unit(4, 5, 7)[images]
    found = []
    for loss in LOSSES:
        bias = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        s = whole._replace(
            cosines=F.normalize(features @ weight, dim=-1) @ whole.vectors.T,
            bias=bias,
            matches=whole.matches[images],
            targets=whole.targets[images],
            known=whole.known[images],
            present=whole.present[images],
            absent=whole.absent[images],
        )
        grads = torch.autograd.grad(loss(s), (weight, bias), allow_unused=True)
        found += [torch.zeros_like(bias) if g is None else g for g in grads]
    return found


def _in_a_process(args):
    start = 2 * comm.get_rank()
    grads = grads_by_loss(slice(start, start + 2))
    for grad in grads:
        dist.all_reduce(grad)
        grad /= comm.get_world_size()
    if comm.is_main_process():
        torch.save(grads, args.opts[1])


def test_two_processes_have_the_gradient_of_one(tmp_path):
    file = str(tmp_path / "grads.pt")
    flags = ["--num-gpus", "0", "--num-cpu-processes", "2"]
    launch(_in_a_process, parse_args([*flags, "file", file]))
    whole = grads_by_loss(slice(None))
    for found, expected in zip(torch.load(file, weights_only=True), whole, strict=True):
        torch.testing.assert_close(found, expected)
    assert all(grad.any() for grad in whole[::2])


# --- config ---

WEIGHTS = {
    "loss_presence": "PRESENCE",
    "loss_absent": "ABSENT",
    "loss_rank_list": "RANK_LIST",
    "loss_rank_pairs": "RANK_PAIRS",
}


def built(**options):
    pairs = ((f"MODEL.CEL.LOSSES.{key}", value) for key, value in options.items())
    return build_enhancements(setup_cfg(opts=[x for pair in pairs for x in pair]))


def test_rankings_are_off_by_default():
    weights = {name: weight for name, (weight, _) in built().items()}
    assert weights == {"loss_presence": 0.5, "loss_absent": 0.5}


@pytest.mark.parametrize("left_out", WEIGHTS)
def test_a_weight_of_0_leaves_a_loss_out(left_out):
    names = WEIGHTS.keys() - {left_out}
    options = {f"{key}_WEIGHT": "0.0" if x == left_out else "2.0" for x, key in WEIGHTS.items()}
    found = built(**options)
    assert found.keys() == names
    assert all(weight == 2 and loss(scores_of()) > 0 for weight, loss in found.values())


def test_settings_reach_their_losses():
    found = built(RANK_LIST_WEIGHT="1.0", RANK_PAIRS_WEIGHT="1.0", RANK_TEMPERATURE="0.3",
                  RANK_NEIGHBOURS="4", RANK_GAP="0.1", RANK_SHARE="0.25")  # fmt: skip
    own = {name: vars(loss) for name, (_, loss) in found.items()}
    assert own["loss_rank_pairs"] == {"neighbours": 4, "gap": 0.1, "share": 0.25}
    assert own["loss_rank_list"] == {"temperature": 0.3}


@pytest.mark.parametrize(
    "make, key",
    [
        (lambda: ListRanking(temperature=-1), "LOSSES.RANK_TEMPERATURE"),
        (lambda: PairRanking(neighbours=0), "LOSSES.RANK_NEIGHBOURS"),
        (lambda: PairRanking(gap=-0.1), "LOSSES.RANK_GAP"),
        (lambda: PairRanking(share=1.5), "LOSSES.RANK_SHARE"),
    ],
)
def test_a_setting_out_of_range_is_named(make, key):
    with pytest.raises(ValueError, match=f"MODEL.CEL.{key}: expected "):
        make()


def test_all_losses_are_registered():
    assert {kind for _, kind in ENHANCEMENT_LOSS_REGISTRY} == {type(loss) for loss in LOSSES}
