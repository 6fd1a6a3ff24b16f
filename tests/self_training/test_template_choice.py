"""Templates are chosen per class by how sure they are of it, once, and a run goes by them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stseg.checkpoint import WeightFacts
from stseg.modeling.text import ClassEmbeddings
from stseg.self_training.template_choice import TemplateCounts, check_top
from tests.helpers.tiny_model import register, tiny_cfg

from . import round_runs as runs

TEMPLATES = ["a {}.", "one {}.", "the {}."]


def counts_of(cells, embeds, index):
    rows = torch.tensor(index)
    return TemplateCounts.of(cells, ClassEmbeddings(embeds, rows, int(rows.max()) + 1))


def test_entropy_and_cells_are_those_of_each_template_alone():
    torch.manual_seed(0)
    dense, embeds = torch.randn(8, 3, 4), F.normalize(torch.randn(4, 2, 8), dim=-1)
    counts = counts_of(dense, embeds, [0, 0, 1, 2])  # the first class has two names
    assert counts.cells.sum(0).tolist() == [12, 12]
    for p in range(2):
        cosines = F.cosine_similarity(dense.flatten(1).T[:, None], embeds[:, p], dim=-1)  # (n, S)
        logits = 100 * torch.stack([cosines[:, :2].amax(1), cosines[:, 2], cosines[:, 3]], 1)
        shares = logits.softmax(1)
        entropy, won = -(shares * shares.clamp(min=1e-30).log()).sum(1), shares.argmax(1)
        for c in range(3):
            assert counts.cells[c, p] == (won == c).sum()
            assert counts.entropy[c, p] == pytest.approx(float(entropy[won == c].sum()), abs=1e-4)


def test_images_add_up_whichever_process_saw_them():
    torch.manual_seed(0)
    embeds = F.normalize(torch.randn(3, 2, 8), dim=-1)
    one, two = (counts_of(torch.randn(8, 3, 4), embeds, [0, 1, 2]) for _ in range(2))
    both = one + two
    assert (both.cells == one.cells + two.cells).all() and both.cells.sum() == 48
    assert both.entropy == pytest.approx(one.entropy + two.entropy)


def test_the_surest_templates_are_taken_by_their_mean():
    cells = np.array([[100, 200, 400, 100], [100, 100, 100, 100]])
    means = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    counts = TemplateCounts(means * cells, cells)
    assert counts.best(1) == [[3], [0]]
    assert counts.best(3) == [[3, 2, 1], [0, 1, 2]]


def test_few_cells_judge_no_template_and_few_templates_no_class():
    cells = np.array([[99, 100, 100, 100], [0, 0, 0, 900], [99, 99, 500, 500], [0, 0, 0, 0]])
    counts = TemplateCounts(np.ones((4, 4)) * [0.1, 0.2, 0.3, 0.4] * cells, cells)
    assert counts.best(1) == [[1], [], [2], []]
    assert counts.best(3) == [[1, 2, 3], [], [], []]
    # One class leaves nothing to be unsure of.
    assert TemplateCounts(np.zeros((1, 4)), np.full((1, 4), 900)).best(1) == [[]]


def test_the_top_is_below_all_templates_of_a_model_that_has_some(tmp_path):
    from stseg.modeling.meta_arch import STSeg

    register(tmp_path)
    changes = {"MODEL__STSEG__DEA__ENABLED": False, "MODEL__TEXT__TEMPLATES": TEMPLATES}
    model = STSeg(tiny_cfg(**changes))
    check_top(2, model)
    with pytest.raises(ValueError, match=r"TEMPLATES.TOP: expected less than the 3 .*got 3"):
        check_top(3, model)
    check_top(0, nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"TEMPLATES.TOP: expected 0 with Linear, got 4"):
        check_top(4, nn.Linear(1, 1))


CHANGES = {
    "MODEL.STSEG.DEA.ENABLED": False,
    "MODEL.STSEG.IMAGE_SIZE": [128, 128],  # 16 cells
    "MODEL.TEXT.TEMPLATES": TEMPLATES[:2],
    "SELF_TRAINING.REFINE.ENABLED": False,
    "SELF_TRAINING.GUARD.IMAGES": 1,
    "SELF_TRAINING.PREVIEW": 0,
    "SELF_TRAINING.ROUNDS": 1,
    "SELF_TRAINING.ROUND_ITERS": 1,
    "SELF_TRAINING.TEMPLATES.TOP": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs train_net on so many cells that a template gives 100 to one of four classes."""
    folder = tmp_path_factory.mktemp("templates")
    data = runs.make_images(folder / "data", count=26, size=(16, 16))

    def start(name, changes):
        argv = runs.make_argv(data, folder / name, {**CHANGES, **changes}, stseg=True)
        log = folder / f"{name}.txt"
        assert runs.run_in_process(argv, log) == 0, log.read_text()
        found = json.loads((folder / name / "self_training" / "templates.json").read_text())
        (manifest,) = (folder / name / "self_training").glob("round_01-*/manifest.json")
        return SimpleNamespace(
            facts=WeightFacts.of(runs.load(folder / name / "model_final.pth")),
            classes={row["name"]: row for row in found["classes"]},
            weights=json.loads(manifest.read_text())["weights"],
        )

    return start


def test_a_run_ends_with_the_choice_that_labelled_unless_its_start_is_put_back(run):
    kept = run("kept", {"SELF_TRAINING.GUARD.ENABLED": False})
    told = {
        ((name,), tuple(x["template"] for x in row["chosen"]))
        for name, row in kept.classes.items()
        if row["chosen"]
    }
    assert told and set(kept.facts.templates) == told
    for row in kept.classes.values():
        assert all(
            x["cells"] >= 100 and x["entropy"] <= row["entropy_of_all"] for x in row["chosen"]
        )

    undone = run("undone", {"SELF_TRAINING.GUARD.MIN_CHANGE": 1.0})  # nothing is a gain
    assert undone.classes == kept.classes and undone.weights == kept.weights
    assert undone.facts == WeightFacts()
