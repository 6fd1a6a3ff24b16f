"""Early rejection watched at work: who survives, what it costs and what it changes."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stseg import Predictor
from stseg.evaluation import ConfusionMatrix
from stseg.modeling.heads import cost_decoder
from stseg.tools.vocabulary import VocabularyVariant

STAGES = 3


class Watch:
    """Counts, by rejection's choices, and seconds, of everything that is wrapped."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """Start at 0; the clock is that of the CPU, all threads together, if not told."""
        self.clock = clock
        self.alive: list[int] = []
        self.seconds = 0.0

    def choosing(self, choose: Callable) -> Callable:
        """`surviving_classes`, counted."""

        def counted(*args, **kwargs):
            kept = choose(*args, **kwargs)
            self.alive.append(len(kept))
            return kept

        return counted

    def timed(self, function: Callable) -> Callable:
        """Any function, timed."""

        def watched(*args, **kwargs):
            start = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += self.clock() - start

        return watched


def measure(
    predictor: Predictor,
    records: Sequence[Mapping[str, str]],
    asked: VocabularyVariant,
    read: Callable[[str], np.ndarray],
    topks: Sequence[int],
) -> list[dict]:
    """Score every setting on every image, the settings in turn.

    Args:
        predictor: of a model with a `CostAwareDecoder`.
        records: with "file_name" and "sem_seg_file_name".
        asked: the names, distractors included.
        read: path of a label map -> (H, W) ids, `IGNORE_LABEL` where not scored.
        topks: classes kept per cell and stage, 0 for all, which comes first.

    Returns:
        A row per setting: "topk", "alive" (three means), "decoder" and "whole" in CPU seconds per
        image, "mIoU" and "changed" in [0, 1].
    """
    head = predictor.model.head
    vocabulary = asked.vocabulary
    matrices = {k: ConfusionMatrix(asked.num_classes) for k in topks}
    watches = {k: Watch() for k in topks}
    whole, changed, pixels = dict.fromkeys(topks, 0.0), dict.fromkeys(topks, 0), 0
    choose, decode, before = cost_decoder.surviving_classes, head.forward, head.rejection_topk
    predictor(records[0]["file_name"], vocabulary)  # warms up, and embeds the names
    try:
        for record in records:
            label, first = read(record["sem_seg_file_name"]), None
            pixels += label.size
            for k in topks:
                head.rejection_topk = k
                cost_decoder.surviving_classes = watches[k].choosing(choose)
                head.forward = watches[k].timed(decode)
                start = time.process_time()
                answer = asked.restore(predictor(record["file_name"], vocabulary).label_map)
                whole[k] += time.process_time() - start
                matrices[k].update(answer, label, name=record["file_name"])
                first = answer if first is None else first
                changed[k] += int((answer != first).sum())
    finally:
        cost_decoder.surviving_classes = choose
        head.rejection_topk = before
        vars(head).pop("forward", None)
    return [
        {
            "topk": k,
            "alive": np.mean(np.reshape(watches[k].alive, (-1, STAGES)), axis=0).tolist()
            if k
            else [float(len(asked.names))] * STAGES,
            "decoder": watches[k].seconds / len(records),
            "whole": whole[k] / len(records),
            "mIoU": matrices[k].summary()["mIoU_gt"],
            "changed": changed[k] / pixels,
        }
        for k in topks
    ]
