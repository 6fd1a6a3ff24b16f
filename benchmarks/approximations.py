"""What the approximations cost and what they gain, beside exact answers in one run.

Settings are tried in turn on every image: "rank=8" (MODEL.SEM_SEG_HEAD.TEMPLATE_RANK), "dtype=bf16"
(MODEL.DTYPE), "sam=768" (MODEL.SAM.INPUT_SIZE), or several, "rank=8,dtype=bf16". For each: time of
the decoder and of the whole, mIoU (classes in the labels), how many pixels are answered otherwise,
and the mean and the greatest difference of the probabilities where the network gives them. What a
vocabulary costs once, text embeddings and factors, is not in the times.

Only trained models' errors count. `--random N` takes the times at the size of --config-file with
random weights, images and embeddings of N names.

Example:
    python -m benchmarks.approximations --config-file configs/mini/stseg_mini.yaml \
        --data-set small_world_val_sem_seg --images 30
    python -m benchmarks.approximations --config-file configs/stseg/sed_convnextB_768.yaml \
        --random 150 --images 3 --settings rank=8
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch import Tensor, nn

from benchmarks.inference_sides import Case, our_side, photos
from benchmarks.rejection import Watch
from benchmarks.report_file import markdown_table, write_report
from benchmarks.vocabularies import add_model_flags, predictor_of
from stseg import Predictor, Vocabulary
from stseg.config import setup_cfg
from stseg.data.datasets import dataset_label_reader, dataset_vocabulary
from stseg.evaluation.confusion import ConfusionMatrix
from stseg.modeling.heads.template_basis import LatestBasis

TRIED = ("rank=16", "rank=8", "rank=4", "rank=2", "rank=1", "dtype=bf16")
CHANGES = {"rank": int, "dtype": str, "sam": int}


@dataclass
class Setting:
    """One way to answer; None leaves the model's own.

    Attributes:
        title: as it was written.
        rank: of the templates.
        dtype: of evaluation.
        sam: side of SAM's image in pixels.
    """

    title: str
    rank: int | None = None
    dtype: str | None = None
    sam: int | None = None

    def __post_init__(self) -> None:
        self.basis = LatestBasis(self.rank) if self.rank else None  # of its own: they take turns

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """Read "rank=8,dtype=bf16"."""
        pairs = [part.partition("=") for part in text.split(",")]
        if any(key not in CHANGES or not value for key, _, value in pairs):
            raise argparse.ArgumentTypeError(
                f"expected such as rank=8, dtype=bf16 or rank=8,sam=768, got {text!r}"
            )
        return cls(text, **{key: CHANGES[key](value) for key, _, value in pairs})

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Change the model, and change it back."""
        if self.sam and model.sam_encoder is None:
            raise ValueError(
                f"{self.title}: expected a model with SAM (MODEL.STSEG.DEA.ENABLED), got none."
            )
        changes = [(model.head, "latest_basis", self.basis), (model, "dtype", self.dtype)]
        changes += [(model.sam_encoder, "input_size", self.sam)]
        changes = [change for change in changes if change[2] is not None]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
        try:
            for owner, name, value in changes:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


class Trial:
    """A setting, its clocks and the score maps of its last answer."""

    def __init__(self, setting: Setting, model: nn.Module):
        """Nothing is measured yet."""
        self.setting, self.model = setting, model
        clock = partial(now, model.device)
        self.decoder, self.whole = Watch(clock), Watch(clock)
        self.scores: list[Tensor] = []  # of the whole image or of each window

    def ask(self, answer: Callable):
        """What `answer` gives under the setting, timed."""
        head, model = self.model.head, self.model
        decode, predict = head.forward, model.predict
        self.scores.clear()

        def kept(*args):
            outputs = predict(*args)
            self.scores.append(outputs[0])
            return outputs

        with self.setting.applied(model):
            head.forward, model.predict = self.decoder.timed(decode), kept
            try:
                return self.whole.timed(answer)()
            finally:
                del head.forward, model.predict

    def restart(self) -> None:
        """Forget the times."""
        self.decoder.seconds = self.whole.seconds = 0.0

    def row(self, images: int) -> dict:
        """The times, per image."""
        return {
            "setting": self.setting.title,
            "decoder": self.decoder.seconds / images,
            "whole": self.whole.seconds / images,
        }


def now(device: torch.device) -> float:
    """Seconds of all threads together on a CPU, of the clock on the wall elsewhere."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(
    predictor: Predictor,
    records: Sequence[Mapping[str, str]],
    vocabulary: Vocabulary,
    read: Callable[[str], np.ndarray],
    settings: Sequence[Setting],
) -> list[dict]:
    """Score every setting on every image, the settings in turn.

    Args:
        predictor: of an `STSeg`.
        records: with "file_name" and "sem_seg_file_name".
        vocabulary: of T classes.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored.
        settings: all that are tried, beside the model as it is, which comes first.

    Returns:
        A row per setting: "setting", "decoder" and "whole" in seconds per image, "mIoU" and
        "changed" in [0, 1], "mean" and "largest" difference of probabilities.
    """
    trials = [Trial(setting, predictor.model) for setting in (Setting("exact"), *settings)]
    for trial in trials:  # warms up, embeds and factorises the names
        trial.ask(lambda: predictor(records[0]["file_name"], vocabulary))
        trial.restart()
    matrices = [ConfusionMatrix(len(vocabulary)) for _ in trials]
    changed, pixels = [0] * len(trials), 0
    differences: list[list[Tensor]] = [[] for _ in trials]
    for record in records:
        label = read(record["sem_seg_file_name"])
        ask = partial(predictor, record["file_name"], vocabulary)
        answers = [trial.ask(ask).label_map for trial in trials]
        pixels += label.size
        for i, trial in enumerate(trials):
            matrices[i].update(answers[i], label, name=record["file_name"])
            changed[i] += int((answers[i] != answers[0]).sum())
            differences[i].append(difference(trial.scores, trials[0].scores))
    return [
        {
            **trial.row(len(records)),
            "mIoU": matrices[i].summary()["mIoU_gt"],
            "changed": changed[i] / pixels,
            "mean": float(torch.stack(differences[i])[:, 0].mean()),
            "largest": float(torch.stack(differences[i])[:, 1].max()),
        }
        for i, trial in enumerate(trials)
    ]


def difference(scores: Sequence[Tensor], exact: Sequence[Tensor]) -> Tensor:
    """Mean and greatest difference of probabilities, of logits: (2,)."""
    apart = [
        (x.float().sigmoid() - y.float().sigmoid()).abs().flatten()
        for x, y in zip(scores, exact, strict=True)
    ]
    together = torch.cat(apart)
    return torch.stack([together.mean(), together.max()])


def measure_times(case: Case, images: int, settings: Sequence[Setting]) -> list[dict]:
    """The times alone, the least of all images, with random weights; rows as those of `measure`."""
    torch.set_num_threads(case.threads)
    side = our_side(case)
    trials = [Trial(setting, side.model) for setting in (Setting("exact"), *settings)]
    ask = partial(side.ask, photos(case), case.classes)
    with torch.inference_mode():
        for trial in trials:  # warms up, and factorises the names
            trial.ask(ask)
        rounds = [[_one(trial, ask) for trial in trials] for _ in range(images)]
    return [min(rows, key=lambda row: row["decoder"]) for rows in zip(*rounds, strict=True)]


def _one(trial: Trial, ask: Callable) -> dict:
    trial.restart()
    trial.ask(ask)
    return trial.row(1)


def show(rows: Sequence[Mapping]) -> None:
    """Print the table."""
    exact, lines = rows[0], []
    for row in rows:
        line = [row["setting"], f"{1000 * row['decoder']:.0f}", f"{1000 * row['whole']:.0f}"]
        line += [f"{exact[key] / row[key]:.2f}x" for key in ("decoder", "whole")]
        if "mIoU" in row:
            line += [f"{100 * row['mIoU']:.2f}", f"{100 * row['changed']:.2f} %"]
            line += [f"{row['mean']:.1e}", f"{row['largest']:.1e}"]
        lines.append(line)
    heads = ["setting", "decoder, ms", "whole, ms", "decoder, gain", "whole, gain", "mIoU"]
    heads += ["pixels changed", "mean difference", "largest"]
    print(markdown_table(heads[: len(lines[0])], lines))


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--settings", type=Setting.parse, nargs="+", metavar="KEY=VALUE[,...]")
    add("--random", type=int, metavar="N", help="times only: random weights, N names")
    add("--threads", type=int, default=1, help="of PyTorch, with --random")
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    args = parser.parse_args(argv)
    settings = args.settings or [Setting.parse(text) for text in TRIED]
    if args.random:
        case = Case(
            side="stseg",
            classes=args.random,
            image_size=setup_cfg(args.config_file).MODEL.STSEG.IMAGE_SIZE[0],
            answer="labels",
            threads=args.threads,
            config_file=args.config_file,
        )
        rows = measure_times(case, args.images or 1, settings)
    else:
        predictor = predictor_of(args)
        rows = measure(
            predictor,
            DatasetCatalog.get(args.data_set)[: args.images],
            dataset_vocabulary(args.data_set),
            dataset_label_reader(args.data_set),
            settings,
        )
    show(rows)
    write_report(args.json, rows)
    return rows


if __name__ == "__main__":
    main()
