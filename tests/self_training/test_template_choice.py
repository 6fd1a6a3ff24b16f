"""Templates are chosen per class by how sure they are of it, once, and a run goes by them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stseg.checkpoint import WeightFacts
from stseg.modeling.meta_arch import STSeg
from stseg.modeling.text import ClassEmbeddings
from stseg.self_training import DatasetLabeler, Labeler, SamPseudoLabelHook, Target, take_snapshot
from stseg.self_training.template_choice import TemplateCounts, check_top
from stseg.structures import Vocabulary
from tests.helpers.colour_net import COLOURS
from tests.helpers.nearest_colour import NearestColour, items
from tests.helpers.tiny_model import register, tiny_cfg

from . import round_runs as runs

NAMES = tuple(COLOURS)
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
    register(tmp_path)
    changes = {"MODEL__STSEG__DEA__ENABLED": False, "MODEL__TEXT__TEMPLATES": TEMPLATES}
    model = STSeg(tiny_cfg(**changes))
    check_top(2, model)
    with pytest.raises(ValueError, match=r"TEMPLATES.TOP: expected less than the 3 .*got 3"):
        check_top(3, model)
    check_top(0, nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"TEMPLATES.TOP: expected 0 with Linear, got 4"):
        check_top(4, nn.Linear(1, 1))


def test_a_run_chooses_before_it_labels_and_ends_with_the_choice(tmp_path):
    # So many cells that a template gives 100 to one of four classes.
    data = runs.make_images(tmp_path / "data", count=26, size=(16, 16))
    changes = {
        "MODEL.STSEG.DEA.ENABLED": False,
        "MODEL.STSEG.IMAGE_SIZE": [128, 128],  # 16 cells
        "MODEL.TEXT.TEMPLATES": TEMPLATES[:2],
        "SELF_TRAINING.GUARD.ENABLED": False,
        "SELF_TRAINING.PREVIEW": 0,
        "SELF_TRAINING.REFINE.ENABLED": False,
        "SELF_TRAINING.ROUNDS": 1,
        "SELF_TRAINING.ROUND_ITERS": 1,
        "SELF_TRAINING.TEMPLATES.TOP": 1,
    }
    argv, log = runs.make_argv(data, tmp_path / "run", changes, stseg=True), tmp_path / "log"
    assert runs.run_in_process(argv, log) == 0, log.read_text()
    found = json.loads((tmp_path / "run" / "self_training" / "templates.json").read_text())
    chosen = [row for row in found["classes"] if row["chosen"]]
    for told in (row["chosen"][0] for row in chosen):
        assert told["cells"] >= 100 and told["template"] in TEMPLATES
    facts = WeightFacts.of(runs.load(tmp_path / "run" / "model_final.pth"))
    wanted = {((row["name"],), (row["chosen"][0]["template"],)) for row in chosen}
    assert wanted and set(facts.templates) == wanted
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.index("templates chosen for") < log.index("pixels labelled")


class OneIteration:
    """What rounds ask of a trainer, which learns nothing."""

    iter, start_iter, max_iter = 0, 0, 1
    storage = SimpleNamespace(put_scalar=lambda *_: None)

    def __init__(self, model):
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def train_on(self, loader):
        """Another loader changes nothing here."""

    def stop(self):
        """There is but one iteration."""

    def save_checkpoint(self, is_final=False):
        """Nobody resumes."""


def test_a_start_that_is_put_back_has_the_templates_that_it_had(tmp_path):
    data = runs.make_images(tmp_path / "data", count=1)
    model, before = NearestColour(), WeightFacts(1.5)
    chosen = WeightFacts(1.5, templates=((("red",), ("a {}.",)),))
    model.facts = before
    target = Target("t", ({"file_name": str(data / "images" / "0.png")},), Vocabulary.parse(NAMES))
    seen = []

    def probe(asked):
        seen.append(asked.facts)
        return take_snapshot(asked, target=target, items=items)

    hook = SamPseudoLabelHook(
        model=model,
        labeler=DatasetLabeler(target=target, labeler=Labeler(NAMES, threshold=0.1), items=items),
        loader=lambda *_, **__: (),
        folder=tmp_path / "run",
        rounds=1,
        round_iters=1,
        probe=probe,
        pictures=0,
        choose=lambda asked: setattr(asked, "facts", chosen),
    )
    hook.trainer = OneIteration(model)
    hook.before_train()
    assert model.facts == chosen
    hook.after_step()
    assert hook.state_dict()["verdict"].startswith("no gain")
    assert model.facts == before
    assert seen[:2] == [before, chosen]  # the guard judges the choice as well
