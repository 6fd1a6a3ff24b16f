"""One stage 2 for the study of the guard: all its rounds, and what they were worth.

    python -m benchmarks.guard_case KIND --start WEIGHTS --seed 0 --out DIR

Rounds are never undone: every limit of the guard is open. DIR gets case.json, with the mIoU of the
start and of every round on labelled images of the target, and the guard's snapshots of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROUNDS, ITERS = 2, 25
DATA_SET = "small_world_target_dev_sem_seg"
SHARED = (
    *("SELF_TRAINING.ROUNDS", str(ROUNDS), "SELF_TRAINING.ROUND_ITERS", str(ITERS)),
    *("SELF_TRAINING.PREVIEW", "0", "SELF_TRAINING.GUARD.IMAGES", "20"),
    *("SELF_TRAINING.GATE.MIN_PIXEL", "0.0"),  # the default of when the report's runs were made
    *("DATASETS.MAX_IMAGES", "100", "DATASETS.TEST", "()"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINTS_KEPT", "0", "SOLVER.LOG_PERIOD", "25"),
)
NO_SAM = ("SELF_TRAINING.REFINE.ENABLED", "False")
#: Names that say nothing of what the classes are.
WRONG = {"grass": "violin", "house": "spoon", "tree": "comet", "car": "feather", "sky": "carpet",
         "boat": "ladder", "heart": "pepper", "cactus": "magnet"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way to run stage 2.

    Attributes:
        opts: keys and values in turn.
        poison: of `benchmarks.guard_poisons`, "" for none.
        temperature: of the start's confidences; below 1 it is surer than it was.
        wrong_names: whether classes go by WRONG names.
    """

    opts: tuple[str, ...] = NO_SAM
    poison: str = ""
    temperature: float = 1.0
    wrong_names: bool = False


KINDS = {
    "honest": Kind(opts=()),
    "honest_no_sam": Kind(),
    "honest_low_gate": Kind((*NO_SAM, "SELF_TRAINING.GATE.THRESH", "0.6")),
    "null_rate": Kind((*NO_SAM, "SOLVER.BASE_LR", "0.000002")),
    "high_rate": Kind((*NO_SAM, "SOLVER.BASE_LR", "0.006")),
    "overconfident": Kind(temperature=0.3),
    "wrong_names": Kind(wrong_names=True),
    **{name: Kind(poison=name) for name in (
        "shuffled", "shift_2", "shift_4", "shift_8", "one_class", "swapped_1", "swapped_3", "ring",
        "erased", "no_unseen",
    )},
}  # fmt: skip


def open_limits() -> list[str]:
    """Keys and values of a guard that undoes nothing."""
    from stseg.self_training import GuardSettings

    opts: list[str] = []
    for field in fields(GuardSettings):
        start = field.name.partition("_")[0]
        if start in ("max", "min") and field.name != "min_score":
            highest = 100.0 if "source" in field.name else 1.0
            opts += [f"SELF_TRAINING.GUARD.{field.name.upper()}",
                     str(highest if start == "max" else 0.0)]  # fmt: skip
    return opts


def run(kind: Kind, start: str, seed: int, out: Path) -> list[float]:
    """Adapt and evaluate; mIoU in percent of the start and after every round."""
    from detectron2.data import DatasetCatalog

    import benchmarks.guard_poisons  # noqa: F401  registers
    from benchmarks.ablation_runs import CONFIGS
    from stseg.checkpoint import read_checkpoint
    from stseg.engine import Trainer, setup_cfg
    from stseg.small_world import CLASS_NAMES
    from stseg.utils import write_atomically

    out.mkdir(parents=True, exist_ok=True)
    names = [WRONG.get(name, name) if kind.wrong_names else name for name in CLASS_NAMES]
    write_atomically(out / "names.txt", "\n".join(names).encode())
    records = DatasetCatalog.get(DATA_SET)
    images = Path(records[0]["file_name"]).parents[1] / "target_train"
    weights = start
    if kind.temperature != 1:
        weights = str(sharpened(start, kind.temperature, out / "start.pth"))
    opts = [*SHARED, *kind.opts, *open_limits(), "SEED", str(seed), "OUTPUT_DIR", str(out)]
    opts += ["MODEL.WEIGHTS", weights]
    opts += ["SELF_TRAINING.SOURCE_VOCABULARY", "small_world_train_sem_seg"]
    if kind.poison:
        opts += ["SELF_TRAINING.LABELER", f"poison_{kind.poison}"]
    cfg = setup_cfg(CONFIGS / "adapt_small_world.yaml", opts, images=str(images),
                    vocabulary=str(out / "names.txt"), device="cpu")  # fmt: skip
    from stseg.self_training import register_target

    register_target(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    files = [out / "self_training" / "start.pth"]
    files += [out / f"model_{ITERS * k - 1:07d}.pth" for k in range(1, ROUNDS + 1)]
    found = []
    for file in filter(Path.exists, files):  # the rounds may have ended for want of labels
        trainer.model.load_state_dict(read_checkpoint(str(file))["model"], strict=False)
        found.append(miou(cfg, trainer.model, records, tuple(names)))
    return found


def sharpened(start: str, temperature: float, path: Path) -> Path:
    """A copy of weights whose confidences are divided in their logits."""
    import torch

    from stseg.checkpoint import WeightFacts, read_checkpoint, weights_file

    content = read_checkpoint(str(weights_file(start)))
    facts = WeightFacts.of(content)
    torch.save({**content, **WeightFacts(temperature, facts.trained_on).beside()}, path)
    return path


def miou(cfg: Any, model: Any, records: Sequence[dict[str, Any]], names: tuple[str, ...]) -> float:
    """In percent, over the classes that occur, at most 50 images."""
    import torch

    from stseg.data import build_record_loader, dataset_label_reader
    from stseg.evaluation import ConfusionMatrix
    from stseg.self_training.dataset_labeler import predict_labels
    from stseg.structures import Vocabulary

    read, confusion = dataset_label_reader(DATA_SET), ConfusionMatrix(len(names))
    vocabulary, chosen = Vocabulary.from_names(names), list(records[:50])
    model.eval()
    with torch.inference_mode():
        for (item,) in build_record_loader(cfg, chosen, DATA_SET, vocabulary):
            labels = predict_labels(model, item, max(item["height"], item["width"]))
            confusion.update(labels.cpu().numpy(), read(item["sem_seg_file_name"]))
    return 100 * confusion.summary()["mIoU_gt"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one case unless it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--start", required=True, help="weights of stage 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    done = args.out / "case.json"
    if not done.exists():
        found = run(KINDS[args.kind], args.start, args.seed, args.out)
        from stseg.checkpoint import write_json

        write_json(str(done), {"kind": args.kind, "start": args.start, "miou": found})
    print(json.loads(done.read_text())["miou"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
