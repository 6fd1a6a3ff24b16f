"""Trials of `benchmarks.approximations`: a model under one setting after the other."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.approximation_settings import Setting
from benchmarks.case_settings import Case
from benchmarks.inference_sides import our_side, photos
from benchmarks.rejection_watch import Watch
from stseg import Predictor, Vocabulary
from stseg.evaluation import ConfusionMatrix
from stseg.modeling.heads.template_basis import LatestBasis


class Trial:
    """A setting, its clocks and the score maps of its last answer."""

    def __init__(self, setting: Setting, model: nn.Module):
        """Nothing is measured yet."""
        self.setting, self.model = setting, model
        # Of its own: settings take turns.
        self.basis = LatestBasis(setting.rank) if setting.rank else None
        clock = partial(now, model.device)
        self.decoder, self.whole = Watch(clock), Watch(clock)
        self.scores: list[Tensor] = []  # of the whole image or of each window

    def ask(self, answer: Callable):
        """What `answer` gives under the setting, timed."""
        head, model = self.model.head, self.model
        decode, answer_of = head.forward, model.answer
        self.scores.clear()

        def kept(*args):
            self.scores.append(answer_of(*args))
            return self.scores[-1]

        with self.applied():
            head.forward, model.answer = self.decoder.timed(decode), kept
            try:
                return self.whole.timed(answer)()
            finally:
                del head.forward, model.answer

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Change the model, and change it back."""
        setting, model = self.setting, self.model
        if setting.sam and model.sam_encoder is None:
            raise ValueError(
                f"{setting.title}: expected a model with SAM (MODEL.STSEG.DEA.ENABLED), got none."
            )
        changes = [(model.head, "latest_basis", self.basis), (model, "dtype", setting.dtype)]
        changes += [(model.sam_encoder, "input_size", setting.sam)]
        changes = [change for change in changes if change[2] is not None]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
        try:
            for owner, name, value in changes:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)

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
