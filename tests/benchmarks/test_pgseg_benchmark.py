"""Regions of one colour under a system's words, and what PGSeg's benchmark makes of runs."""

import math

import numpy as np
import pytest
import torch

from benchmarks import pgseg
from benchmarks.colour_regions import colour_regions, named_regions
from benchmarks.small_world_runs import plan_of
from stseg.modeling.meta_arch import PGSeg
from stseg.small_world.names import CLASS_NAMES, THING_NAMES
from stseg.structures import Vocabulary
from tests.helpers.tiny_model import tiny_pgseg_cfg


def halves():
    """Red on the left, blue on the right."""
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[:, :16, 0], image[:, 16:, 2] = 200, 200
    return image


def test_regions_are_of_one_colour():
    regions = colour_regions(halves(), 2)
    assert regions.dtype == np.int64
    left, right = np.unique(regions[:, :16]), np.unique(regions[:, 16:])
    assert len(left) == len(right) == 1 and left != right


def test_more_regions_than_colours_are_no_error():
    regions = colour_regions(halves(), 6)
    assert set(np.unique(regions)) <= set(range(6))


def test_a_region_has_the_word_of_its_picture_alone():
    torch.manual_seed(0)
    model = PGSeg(tiny_pgseg_cfg()).eval()
    embeddings = model.embed(Vocabulary.parse("cat; dog; car; tree; moon"))
    image, regions = halves(), np.zeros((32, 32), dtype=np.int64)
    regions[:, 16:] = 4  # ids need not be without gaps
    found = named_regions(model, image, regions, embeddings)
    for i in (0, 4):
        alone = torch.from_numpy(np.where((regions == i)[..., None], image, 127.0)).permute(2, 0, 1)
        with torch.no_grad():
            embeds = model.encode([alone.float()]).tensors["image_embeds"][0]
        best = (embeddings.embeds[:, 0] @ embeds).argmax().item()
        assert (found[regions == i] == best).all()


def test_classes_that_do_not_occur_do_not_count():
    ious = {f"IoU-{name}": 10.0 for name in CLASS_NAMES}
    ious[f"IoU-{THING_NAMES[0]}"], ious[f"IoU-{THING_NAMES[1]}"] = math.nan, 50.0
    found = pgseg.by_kind(ious)
    count = len(THING_NAMES) - 1
    assert found["stuff"] == 10 and found["things"] == pytest.approx(
        (10 * (count - 1) + 50) / count
    )


def test_differences_are_of_runs_of_one_seed(monkeypatch, tmp_path):
    plan = plan_of(pgseg.parse_args(["--out", str(tmp_path), "--seeds", "3"]), pgseg.ROWS)
    levels = {"pgseg": (30.0, 20.0), "plain": (25.0, 21.0)}

    def figures(run):
        groups, colours = (dict.fromkeys(pgseg.METRICS, x + run.seed) for x in levels[run.row])
        return {"groups": groups, "colours": colours}

    monkeypatch.setattr(pgseg, "figures_of", figures)
    content = pgseg.gather(plan, 3)
    assert content["differences"]["pgseg - plain"]["all"]["mean"] == 5
    assert content["differences"]["plain: groups - colours"]["stuff"]["mean"] == 4
    assert content["summary"]["pgseg"]["groups"]["things"]["mean"] == 31
    table = " ".join(pgseg.markdown(content).split())
    assert "| PGSeg: groups | 31.0 ± 1.0 |" in table and "+5.0 [+5.0, +5.0]" in table
