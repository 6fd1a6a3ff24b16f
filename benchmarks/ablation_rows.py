"""Rows of the ablation: the paper's four, remedies for DEA, controls; what each is compared with.

A remedy for DEA is a row of stage 1, and one of stage 2 that starts from it, NAME_st.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BASELINE = "baseline"
DEA = "MODEL.STSEG.DEA"
STAGE1, STAGE2 = "small_world_dea.yaml", "adapt_small_world_dea.yaml"
#: Undoes what stage 1 was found to do best with, a pull of weight 1.
UNPULLED = (f"{DEA}.PULL_WEIGHT", "0.0")
#: The gate's own rate: at DEA's, 200 steps cannot open it. The others are those of the configs.
GATE_RATE1 = '[["image_encoder", 0.01], ["dea", 0.2], ["dea.gate", 10.0]]'
GATE_RATE2 = '[["image_encoder", 0.15], ["dea", 0.2], ["dea.gate", 10.0]]'


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: in the table.
        config: file in configs/mini.
        start: row whose weights it starts from, "" for stage 1.
        opts: keys and values in turn, besides those of all runs.
        weights: of a row that is only evaluated, "" for one that is trained.
        evaluation: keys and values in turn that hold in evaluation alone.
        trained: False for one that evaluates its start in another way.
        chooser: module that chooses keys of evaluation when training is over, from training images
            alone, see `Run.chosen`; "" for none.
    """

    title: str
    config: str
    start: str = ""
    opts: tuple[str, ...] = ()
    weights: str = ""
    evaluation: tuple[str, ...] = ()
    trained: bool = True
    chooser: str = ""

    @property
    def adapts(self) -> bool:
        """A row of stage 2."""
        return bool(self.start) and self.trained


def _remedy(name: str, title: str, *opts: str, rates: tuple[str, str] = ("", "")) -> dict[str, Row]:
    """A setting of DEA in both stages, in place of the configs' pull in stage 1.

    `rates` are SOLVER.LR_MULTIPLIERS of each stage.
    """
    first, second = (("SOLVER.LR_MULTIPLIERS", rate) if rate else () for rate in rates)
    opts = (*UNPULLED, *opts)
    return {
        name: Row(f"+ DEA, {title}", STAGE1, "", (*opts, *first)),
        f"{name}_st": Row(f"+ DEA, {title}, + ST", STAGE2, name, (*opts, *second)),
    }


#: The four rows of the paper's Table 2, then what the report compares beside them.
PAPER_ROWS = {
    BASELINE: Row("baseline", "small_world.yaml"),
    "dea": Row("+ DEA", STAGE1),
    "st": Row("+ ST", "adapt_small_world.yaml", BASELINE),
    "dea_st": Row("+ DEA + ST", STAGE2, "dea"),
}
EXTRA_ROWS = {
    **_remedy("dea_plain", "not pulled to CLIP"),
    **_remedy("dea_zeroed", "SAM zeroed (control)", f"{DEA}.SAM_ZEROED", "True"),
    **_remedy("dea_gate", "gated", f"{DEA}.GATE_ENABLED", "True", rates=(GATE_RATE1, GATE_RATE2)),
    **_remedy("dea_multiscale", "SAM in the guidance", f"{DEA}.GUIDANCE_ENABLED", "True"),
    **_remedy("dea_antialias", "averaged alignment", f"{DEA}.ANTIALIAS_ENABLED", "True"),
    "dea_xavier": Row("+ DEA, random start", STAGE1, "", (*UNPULLED, f"{DEA}.INIT", "xavier")),
    "dea_st_mask": Row(
        "+ DEA + ST, prompted by the mask alone",
        STAGE2,
        "dea",
        ("SELF_TRAINING.REFINE.PROMPTS", "['mask']", "SELF_TRAINING.REFINE.MIN_IOU", "0.0"),
    ),
    "dea_st_no_sam": Row(
        "+ DEA + ST, masks not refined", STAGE2, "dea", ("SELF_TRAINING.REFINE.ENABLED", "False")
    ),
}
ROWS = {**PAPER_ROWS, **EXTRA_ROWS}


#: Cells a side of the map that DEA mixes: the miniature's own, and twice as many.
CELLS = (8, 16)
#: Minutes of one core that a run takes with its evaluation, by config: of stage 1 measured with
#: others at work on the machine, of stage 2 by the ratio of earlier runs; and how many times that
#: at more cells, as training steps were measured.
MINUTES = {"small_world.yaml": 4.1, STAGE1: 4.5, "adapt_small_world.yaml": 12.0, STAGE2: 13.0}
TIMES = {8: 1.0, 16: 4.7}
#: What they were measured with: iterations of stage 1; rounds, and iterations of each.
STAGE1_ITERS, ROUNDS, ROUND_ITERS = 200, 4, 60


def minutes(row: Row, cells: int, stage1_iters: int, rounds: tuple[int, int]) -> float:
    """About how many minutes of one core a run takes.

    Args:
        row: which.
        cells: one of `CELLS`.
        stage1_iters: iterations of stage 1.
        rounds: of stage 2, and iterations of each; 0 for the config's.
    """
    share = stage1_iters / STAGE1_ITERS
    if row.start:
        share = (rounds[0] or ROUNDS) / ROUNDS * (rounds[1] or ROUND_ITERS) / ROUND_ITERS
    return MINUTES[row.config] * TIMES[cells] * share


def with_requirements(rows: Sequence[str]) -> list[str]:
    """Rows, the baseline and what they start from, in the order of the table."""
    needed = {BASELINE, *rows, *(ROWS[row].start for row in rows if ROWS[row].start)}
    return [row for row in ROWS if row in needed]


def comparisons(rows: Sequence[str]) -> list[tuple[str, str]]:
    """Which of some rows is held against which: (row, the other), both of the same seed.

    All against the baseline; stage 2 with DEA against stage 2 without; DEA as it is, and its other
    settings, against DEA that is not pulled, of the same stage.
    """
    pairs = []
    for row in rows:
        has_dea, is_second = row.startswith("dea"), bool(ROWS[row].start)
        against = [BASELINE, *(["st"] if has_dea and is_second else [])]
        against += ["dea_plain_st" if is_second else "dea_plain"] if has_dea else []
        pairs += [(row, other) for other in against if other in rows and other != row]
    return pairs
