"""One case of `benchmarks.ebseg`, measured in this process.

    python -m benchmarks.ebseg_case CASE.json RESULT.json

imports the models of stseg for our sides and the checkout of EBSeg for the reference.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.case_settings import Case
from benchmarks.ebseg_sides import Answer, make_side, write_weights
from benchmarks.inference_case import cost
from benchmarks.inference_parts import REST
from benchmarks.inference_sides import Side, photos


def measure(case: Case, side: Side | None = None) -> dict:
    """All figures of a case: those of `inference_case.cost`, and "difference" (see `compare`).

    The first side that has a file for its answer leaves it there, others are compared with it.
    """
    torch.set_num_threads(case.threads)
    side = side or make_side(case)
    result, (answer,) = cost(case, side, photos(case))
    result["parts"]["rest"] = result["parts"].pop(REST)
    with torch.inference_mode():
        result["difference"] = _exchange(Path(case.outputs), answer)
    return result


def _exchange(path: Path, answer: Answer) -> dict | None:
    scores = answer.scores().float()
    found = {"labels": answer.labels.to(torch.int32), "scores": scores}
    if not path.is_file():
        torch.save({key: x.clone() for key, x in found.items()}, path)
        return None
    return compare(found, torch.load(path, mmap=True, weights_only=True))


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict:
    """How far answers are apart.

    Args:
        ours: "labels" (H, W), and "scores" (T, h, w) at some of the pixels.
        theirs: the same.

    Returns:
        "changed": share of pixels with another label. Of scores as shares of the greatest of
        theirs: "largest" difference and "mean" difference. "classes" that win anywhere.
    """
    apart = (ours["scores"] - theirs["scores"]).abs()
    most = float(theirs["scores"].abs().max())
    return {
        "changed": float((ours["labels"] != theirs["labels"]).double().mean()),
        "largest": float(apart.max()) / most,
        "mean": float(apart.mean()) / most,
        "classes": len(theirs["labels"].unique()),
    }


if __name__ == "__main__":
    wanted = Case(**json.loads(Path(sys.argv[1]).read_text()))
    if wanted.side == "weights":
        torch.set_num_threads(wanted.threads)
        write_weights(wanted, photos(wanted)[0]["image"])
        figures = {}
    else:
        figures = measure(wanted)
    Path(sys.argv[2]).write_text(json.dumps(figures))
