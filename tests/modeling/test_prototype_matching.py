"""Groups against prototypes: recorded arrays, and matching, rejection and loss in loops."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from stseg.modeling.losses import match_prototypes, matched_prototype_loss, prototype_loss

TOLERANCE = {"atol": 1e-5, "rtol": 0}
FORMS = ("intended", "released")
every_form = pytest.mark.parametrize("form", FORMS)
START = torch.tensor(math.log(1 / 0.1), dtype=torch.float64)


def sets(images=3, groups=5, channels=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (images, groups, channels)
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2)]


# --- recorded ---


@pytest.mark.parametrize("case", ["a", "b"])
def test_recorded_assignments(pgseg_fixture, case):
    arrays = pgseg_fixture("matching_losses")
    groups, prototypes = arrays[f"{case}_groups"], arrays[f"{case}_protos"]
    for name, maximise in (("min", False), ("max", True)):
        found = match_prototypes(groups, prototypes, maximise=maximise)
        assert torch.equal(found, arrays[f"{case}_match_{name}"])


def check_recorded(arrays, key, loss, groups, log_scale):
    torch.testing.assert_close(loss, arrays[f"{key}_loss"], **TOLERANCE)
    grads = torch.autograd.grad(loss, (groups, log_scale))
    torch.testing.assert_close(grads[0], arrays[f"{key}_grad_groups"], **TOLERANCE)
    torch.testing.assert_close(grads[1], arrays[f"{key}_grad_log_scale"], **TOLERANCE)


@every_form
@pytest.mark.parametrize("case", ["a", "b"])
def test_recorded_losses_and_gradients(pgseg_fixture, case, form):
    arrays = pgseg_fixture("matching_losses")
    groups, log_scale = arrays[f"{case}_groups"].requires_grad_(), arrays["log_scale"]
    loss = prototype_loss(groups, arrays[f"{case}_protos"], log_scale.requires_grad_(), form)
    check_recorded(arrays, f"{case}_{form}", loss, groups, log_scale)


@every_form
def test_recorded_losses_with_rejected_rows(pgseg_fixture, form):
    arrays = pgseg_fixture("matching_losses")
    assert not arrays[f"c_{form}_keep_rows_of_groups"].all()
    groups, log_scale = arrays["c_groups"].requires_grad_(), arrays["log_scale"].requires_grad_()
    loss = matched_prototype_loss(groups, arrays["c_matched"], log_scale, form)
    check_recorded(arrays, f"c_{form}", loss, groups, log_scale)


def test_recorded_loss_of_numbers_and_that_it_teaches_groups_nothing(pgseg_fixture):
    arrays = pgseg_fixture("matching_losses")
    groups = arrays["text_groups"].requires_grad_()
    numbers = groups.mean(-1, keepdim=True)
    matched = arrays["text_protos"].take_along_dim(arrays["text_match_min"][..., None], 1)
    loss = matched_prototype_loss(numbers, matched, arrays["log_scale"], "released")
    torch.testing.assert_close(loss, arrays["text_loss_released"], **TOLERANCE)
    loss.backward()
    assert groups.grad.abs().max() < 1e-5


# --- restated ---


def best_order(cosines, sign):
    """Of one image (G, G), by trying all."""
    orders = itertools.permutations(range(len(cosines)))
    return list(max(orders, key=lambda o: sign * sum(cosines[i][j] for i, j in enumerate(o))))


def cosines_of(groups, prototypes):
    return (F.normalize(groups, dim=-1) @ F.normalize(prototypes, dim=-1).T).tolist()


def rows_of_image(cosines, own_column):
    """Losses of the rows (lists) that are kept; row i belongs to column i."""
    found = []
    for i, row in enumerate(cosines):
        judged, column = (row, i) if own_column else (cosines[0], i)
        place = (judged[column] - min(judged)) / (max(judged) - min(judged) + 1e-6)
        if place > 0.1:
            exps = [math.exp(10 * x) for x in row]
            found.append(-math.log(exps[i] / sum(exps)))
    return found


def restated(groups, prototypes, form):
    by_groups, by_prototypes = [], []
    for of_image, candidates in zip(groups, prototypes, strict=True):
        sign = 1 if form == "intended" else -1
        order = best_order(cosines_of(of_image, candidates), sign)
        cosines = cosines_of(of_image, candidates[order])
        turned_round = [list(column) for column in zip(*cosines, strict=True)]
        by_groups += rows_of_image(cosines, form == "intended")
        by_prototypes += rows_of_image(turned_round, form == "intended")
    total = len(groups) * groups.shape[1]
    rejected = 2 * total - len(by_groups) - len(by_prototypes)
    return sum(by_groups) / len(by_groups) + sum(by_prototypes) / len(by_prototypes), rejected


@every_form
def test_the_loss_is_what_it_says(form):
    rejected = 0
    for seed in range(4):
        groups, prototypes = sets(seed=seed)
        expected, count = restated(groups, prototypes, form)
        rejected += count
        found = prototype_loss(groups, prototypes, START, form).item()
        assert found == pytest.approx(expected, rel=1e-6)
    assert rejected > 0


def test_pairs_that_are_found_out_cost_little():
    prototypes = torch.eye(6).expand(2, -1, -1)
    groups = torch.stack([torch.eye(6)[torch.randperm(6)] for _ in range(2)])
    assert prototype_loss(groups, prototypes, START) < 1e-2
    assert prototype_loss(groups, prototypes, START, "released") > 10


# --- what changes nothing ---


def test_the_order_of_groups_and_prototypes_changes_nothing():
    groups, prototypes = sets()
    whole = prototype_loss(groups, prototypes, START)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(prototype_loss(groups[:, order], prototypes, START), whole)
    for form in FORMS:
        losses = [
            prototype_loss(groups, x, START, form) for x in (prototypes, prototypes[:, order])
        ]
        torch.testing.assert_close(*losses)


def test_ties_go_in_order_whatever_is_beside_them():
    groups, prototypes = sets()
    groups[1], prototypes[1] = groups[1, :1].clone(), prototypes[1, :1].clone()
    for maximise in (True, False):
        found = match_prototypes(groups, prototypes, maximise=maximise)
        assert found[1].tolist() == [0, 1, 2, 3, 4]
        assert torch.equal(found[1:2], match_prototypes(groups[1:2], prototypes[1:2],
                                                        maximise=maximise))  # fmt: skip


def test_prototypes_get_no_gradient():
    groups, prototypes = (x.requires_grad_() for x in sets())
    prototype_loss(groups, prototypes, START).backward()
    assert prototypes.grad is None and groups.grad.abs().max() > 1e-3


# --- rejection ---


@every_form
@pytest.mark.parametrize("groups", [1, 5])
def test_where_no_row_is_kept_the_loss_is_0_and_its_gradient_finite(form, groups):
    same = sets(groups=1)
    given = [x.expand(-1, groups, -1).clone().requires_grad_() for x in same]
    log_scale = START.clone().requires_grad_()
    loss = prototype_loss(*given, log_scale, form)
    loss.backward()
    assert loss == 0
    assert torch.equal(given[0].grad, torch.zeros_like(given[0])) and log_scale.grad == 0


def test_an_image_without_kept_rows_does_not_weigh_on_the_others():
    groups, prototypes = sets()
    groups[1], prototypes[1] = groups[1, :1].clone(), prototypes[1, :1].clone()
    others = torch.tensor([0, 2])
    for form in FORMS:
        torch.testing.assert_close(
            prototype_loss(groups, prototypes, START, form),
            prototype_loss(groups[others], prototypes[others], START, form),
        )


def test_the_worst_pair_of_its_row_is_no_row_but_stays_a_column():
    groups, prototypes = torch.eye(4)[None].double(), torch.eye(4)[None].double()
    prototypes[0, 0] = -prototypes[0, 0]
    found = matched_prototype_loss(groups.requires_grad_(), prototypes, START)
    exps = [math.exp(0), math.exp(10)]
    of_others = -math.log(exps[1] / (exps[1] + 3 * exps[0]))
    assert found.item() == pytest.approx(2 * of_others, rel=1e-6)
    found.backward()
    assert groups.grad[0, 0].abs().max() > 0


# --- precision, and what is refused ---


@every_form
def test_half_precision_is_matched_and_compared_in_float32(form):
    groups, prototypes = (x.bfloat16() for x in sets(groups=8, channels=16))
    with torch.autocast("cpu", torch.bfloat16):
        found = prototype_loss(groups, prototypes.float(), START.float(), form)
    exact = prototype_loss(groups.float(), prototypes.float(), START.float(), form)
    assert found.dtype == torch.float32 and torch.equal(found, exact)


def test_what_cannot_be_compared_is_named():
    groups, prototypes = sets()
    with pytest.raises(ValueError, match="FORM: expected one of intended, released, got 'both'"):
        prototype_loss(groups, prototypes, START, "both")
    with pytest.raises(ValueError, match=r"as groups \(3, 5, 4\), got \(3, 4, 4\)"):
        prototype_loss(groups, prototypes[:, :4], START)
    groups[1, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="cosine costs of image 1 of the batch"):
        prototype_loss(groups, prototypes, START)
