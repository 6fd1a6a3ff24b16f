r"""One stage 2 for the study of the guard: all its rounds, and what they were worth.

    python -m benchmarks.guard_case KIND --start WEIGHTS --seed 0 --out DIR
    python -m benchmarks.guard_case KIND --start WEIGHTS --seed 0 --out DIR \
        --world photos --camvid DIR

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

from benchmarks.guard_worlds import WORLDS, World

ROUNDS, ITERS = 2, 25
SHARED = (
    *("SELF_TRAINING.ROUNDS", str(ROUNDS), "SELF_TRAINING.ROUND_ITERS", str(ITERS)),
    *("SELF_TRAINING.PREVIEW", "0", "SELF_TRAINING.GUARD.IMAGES", "20"),
    *("DATASETS.MAX_IMAGES", "100", "DATASETS.TEST", "()"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.CHECKPOINTS_KEPT", "0", "SOLVER.LOG_PERIOD", "25"),
)
NO_SAM = ("SELF_TRAINING.REFINE.ENABLED", "False")


@dataclass(frozen=True)
class Kind:
    """A way to run stage 2.

    Attributes:
        opts: keys and values in turn.
        poison: of `benchmarks.guard_poisons`, "" for none.
        temperature: of the start's confidences; below 1 it is surer than it was.
        wrong_names: whether classes go by the names that its world has for that.
    """

    opts: tuple[str, ...] = NO_SAM
    poison: str = ""
    temperature: float = 1.0
    wrong_names: bool = False


def kinds(world: World) -> dict[str, Kind]:
    """All kinds of a world, by name."""
    shifts = [f"shift_{pixels}" for pixels in world.shifts]
    return {
        "honest": Kind(opts=()),
        "honest_no_sam": Kind(),
        "honest_low_gate": Kind((*NO_SAM, "SELF_TRAINING.GATE.THRESH", world.low_gate)),
        "null_rate": Kind((*NO_SAM, "SOLVER.BASE_LR", "0.000002")),
        "high_rate": Kind((*NO_SAM, "SOLVER.BASE_LR", "0.006")),
        "overconfident": Kind(temperature=0.3),
        "wrong_names": Kind(wrong_names=True),
        **{name: Kind(poison=name) for name in (
            "shuffled", *shifts, "one_class", "swapped_1", "swapped_3", "ring", "erased",
            "no_unseen",
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


def run(
    kind: Kind, start: str, seed: int, out: Path, world: World, root: Path | None
) -> list[float]:
    """Adapt and evaluate; mIoU in percent of the start and after every round."""
    from benchmarks.ablation_runs import CONFIGS
    from benchmarks.guard_poisons import labeler_name
    from stseg.checkpoint import read_checkpoint
    from stseg.data import register_from_cfg
    from stseg.engine import Trainer, setup_cfg
    from stseg.self_training import register_target

    out.mkdir(parents=True, exist_ok=True)
    weights = start
    if kind.temperature != 1:
        weights = str(sharpened(start, kind.temperature, out / "start.pth"))
    opts = [*SHARED, *world.options, *kind.opts, *open_limits()]
    opts += ["SEED", str(seed), "OUTPUT_DIR", str(out), "MODEL.WEIGHTS", weights]
    opts += world.target(out, world.wrong if kind.wrong_names else {}, root)
    if kind.poison:
        opts += ["SELF_TRAINING.LABELER", labeler_name(kind.poison, world)]
    cfg = setup_cfg(CONFIGS / world.config, opts, device="cpu")
    register_from_cfg(cfg)
    register_target(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    files = [out / "self_training" / "start.pth"]
    files += [out / f"model_{ITERS * k - 1:07d}.pth" for k in range(1, ROUNDS + 1)]
    found = []
    for file in filter(Path.exists, files):  # the rounds may have ended for want of labels
        trainer.model.load_state_dict(read_checkpoint(str(file))["model"], strict=False)
        found.append(miou(cfg, trainer.model, world))
    return found


def sharpened(start: str, temperature: float, path: Path) -> Path:
    """A copy of weights whose confidences are divided in their logits."""
    import torch

    from stseg.checkpoint import WeightFacts, read_checkpoint, weights_file

    content = read_checkpoint(str(weights_file(start)))
    facts = WeightFacts.of(content)
    torch.save({**content, **WeightFacts(temperature, facts.trained_on).beside()}, path)
    return path


def miou(cfg: Any, model: Any, world: World) -> float:
    """In percent, over the classes that occur in the world's judged images."""
    import torch
    from detectron2.data import DatasetCatalog

    from stseg.data import build_record_loader, dataset_label_reader
    from stseg.evaluation import ConfusionMatrix
    from stseg.self_training.dataset_labeler import predict_labels
    from stseg.structures import Vocabulary

    vocabulary = Vocabulary.parse(Path(cfg.SELF_TRAINING.VOCABULARY))
    read, confusion = dataset_label_reader(world.truth), ConfusionMatrix(len(vocabulary))
    records = DatasetCatalog.get(world.truth)[world.judged]
    model.eval()
    with torch.inference_mode():
        for (item,) in build_record_loader(cfg, records, world.truth, vocabulary):
            labels = predict_labels(model, item, max(item["height"], item["width"]))
            confusion.update(labels.cpu().numpy(), read(item["sem_seg_file_name"]))
    return 100 * confusion.summary()["mIoU_gt"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one case unless it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = dict.fromkeys(kind for world in WORLDS.values() for kind in kinds(world))
    parser.add_argument("kind", metavar="KIND", help=", ".join(every))
    parser.add_argument(
        "--world", choices=WORLDS, default="drawings", help="(default: %(default)s)"
    )
    parser.add_argument("--camvid", type=Path, metavar="DIR", help="with --world photos")
    parser.add_argument("--start", required=True, help="weights of stage 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    world = WORLDS[args.world]
    if args.kind not in kinds(world):
        parser.error(f"KIND: expected one of {', '.join(kinds(world))}, got {args.kind!r}.")
    if (args.camvid is None) != (args.world == "drawings"):
        parser.error("--camvid: expected together with --world photos, got one without the other.")
    done = args.out / "case.json"
    if not done.exists():
        kind = kinds(world)[args.kind]
        found = run(kind, args.start, args.seed, args.out, world, args.camvid)
        from stseg.checkpoint import write_json

        write_json(str(done), {"kind": args.kind, "start": args.start, "miou": found})
    print(json.loads(done.read_text())["miou"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
