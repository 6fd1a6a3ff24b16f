"""One case of `benchmarks.inference`, measured in this process.

    python -m benchmarks.inference_case CASE.json RESULT.json

imports stseg for our side and the reference's checkout for the other, never both.
"""

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case_settings import Case
from benchmarks.inference_parts import Memory, Meter, PeakMeter, metered
from benchmarks.inference_sides import Side, make_side, photos

STRIDE = 4  # every fourth pixel of the answers is compared
FEW = (2, 4)  # numbers of names at which operations are counted; between and beyond, a line
PEAK_SIDE = {"cpu": 2048, "cuda": 8192}


def measure(case: Case, side: Side | None = None) -> dict:
    """All figures of a case.

    Returns:
        "best_s" and "median_s" for the batch; "cpu_s", least seconds of all threads together;
        memory in MiB: "before_mib" the first forward, "peak_mib" at the highest during forwards
        and "added_mib", the difference; "gflop" operations in 10^9; "parts": label -> "seconds"
        in the best forward, "peak_mib" and "gflop", none when compiled; "difference" to the
        reference where it was run.
    """
    side = side or make_side(case)
    images = photos(case)
    result, outputs = cost(case, side, images)
    with torch.inference_mode():  # counting does not go with autocast, and does not need it
        gflop = operations(case, side, images)
    result["gflop"] = sum(gflop.values())
    for label, part in result["parts"].items():
        part["gflop"] = gflop.get(label, 0.0)
    if case.outputs:
        result["difference"] = _exchange(case, outputs)
    return result


def cost(case: Case, side: Side, images: list[dict]) -> tuple[dict, list]:
    """Time and memory, which `measure` returns with more, and the answers of the last forward."""
    torch.set_num_threads(case.threads)
    if case.device != "cpu":
        torch.set_float32_matmul_precision("high")  # as SED sets it for training and test
    memory = Memory(case.device)
    with torch.inference_mode(), _autocast(case):
        before = memory.begin()
        peaks, peak = _peaks(case, side, images, memory)
        times, processor, seconds, outputs = _times(case, side, images)
        peak = max(peak, memory.peak())
    labels = dict.fromkeys([*side.parts, *peaks])
    result = {
        "best_s": min(times),
        "median_s": statistics.median(times),
        "cpu_s": min(processor),
        "before_mib": before,
        "peak_mib": peak,
        "added_mib": peak - before,
        "parts": {
            label: {"seconds": seconds.get(label), "peak_mib": peaks.get(label)}
            for label in labels
            if label in peaks
        },
    }
    return result, outputs


def _autocast(case: Case):
    if case.dtype == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(case.device).type, torch.bfloat16)


def _peaks(
    case: Case, side: Side, images: list[dict], memory: Memory
) -> tuple[dict[str, float], float]:
    """The first forward: peak by part and in all."""
    if case.compiled:
        side.ask(images, case.classes)
        return {}, memory.peak()
    meter = PeakMeter(memory)
    with metered(side.model, side.parts, meter, side.functions) as whole:
        whole(side.ask)(images, case.classes)
    return meter.spent, max(meter.spent.values())


def _times(
    case: Case, side: Side, images: list[dict]
) -> tuple[list[float], list[float], dict[str, float], list[Tensor]]:
    """Seconds and CPU seconds of the forwards that count, of parts in the best one, and answers.

    The forward of `_peaks` is the first warm-up. On a GPU the parts are clocked in a forward of
    their own, as they must wait for the device.
    """
    for _ in range(case.warmup - 1):
        side.ask(images, case.classes)
    together = case.device == "cpu" and not case.compiled
    times: list[float] = []
    processor: list[float] = []
    parts: dict[str, float] = {}
    for _ in range(case.repeats):
        outputs: list[Tensor] = []  # two answers are never held at once
        start = time.process_time()
        if together:
            seconds, outputs, spent = _clocked_parts(case, side, images)
            parts = spent if not times or seconds < min(times) else parts
        else:
            seconds, outputs = _clocked(case, lambda: side.ask(images, case.classes))
        processor.append(time.process_time() - start)
        times.append(seconds)
    if not together and not case.compiled:
        outputs = []
        _, outputs, parts = _clocked_parts(case, side, images)
    return times, processor, parts, outputs


def _clock(case: Case) -> float:
    if case.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def _clocked(case: Case, function: Callable[[], list[Tensor]]) -> tuple[float, list[Tensor]]:
    start = _clock(case)
    outputs = function()
    return _clock(case) - start, outputs


def _clocked_parts(case: Case, side: Side, images: list[dict]):
    meter = Meter(lambda: _clock(case))
    with metered(side.model, side.parts, meter, side.functions) as whole:
        ask = whole(side.ask)
        seconds, outputs = _clocked(case, lambda: ask(images, case.classes))
    return seconds, outputs, meter.spent


def operations(case: Case, side: Side, images: list[dict]) -> dict[str, float]:
    """10^9 operations by part: products and sums of convolutions and matrix products.

    Without rejection they are a line in the number of names, found from two small numbers.
    """
    with torch.compiler.set_stance("force_eager") if case.compiled else contextlib.nullcontext():
        return _counted_or_extended(case, side, images)


def _counted_or_extended(case: Case, side: Side, images: list[dict]) -> dict[str, float]:
    if case.rejection or case.survivors or case.classes <= FEW[1]:
        return counted(side, images, case.classes)
    low, high = (counted(side, images, count) for count in FEW)
    share = (case.classes - FEW[0]) / (FEW[1] - FEW[0])
    return {k: low.get(k, 0.0) + share * (v - low.get(k, 0.0)) for k, v in high.items()}


def counted(side: Side, images: list[dict], count: int) -> dict[str, float]:
    """10^9 operations by part, counted in a run with so many names."""
    counter = FlopCounterMode(display=False)
    meter = Meter(lambda: counter.get_total_flops() / 1e9)
    with counter, metered(side.model, side.parts, meter, side.functions) as whole:
        whole(side.ask)(images, count)
    return meter.spent


def _exchange(case: Case, outputs: list[Tensor]) -> dict[str, float] | None:
    """Leave the answers for the other side, or compare ours with those that it left."""
    ours = [x[..., ::STRIDE, ::STRIDE].float().cpu().clone() for x in outputs]
    if case.side == "reference":
        torch.save(ours, case.outputs)
        return None
    if not Path(case.outputs).is_file():
        return None
    return compare(ours, torch.load(case.outputs, weights_only=True))


def compare(ours: list[Tensor], theirs: list[Tensor]) -> dict[str, float]:
    """How far answers are apart.

    Args:
        ours: per image (T, h, w) probabilities or (h, w) labels.
        theirs: the same.

    Returns:
        "changed": share of pixels with another best class; for probabilities also "largest"
        difference and "spread", the standard deviation of theirs over pixels of a class.
    """
    if ours[0].ndim == 2:
        changed = [(a != b).double().mean() for a, b in zip(ours, theirs, strict=True)]
        return {"changed": float(sum(changed) / len(changed))}
    pairs = list(zip(ours, theirs, strict=True))
    changed = [(a.argmax(0) != b.argmax(0)).double().mean() for a, b in pairs]
    return {
        "changed": float(sum(changed) / len(changed)),
        "largest": max(float((a - b).abs().max()) for a, b in pairs),
        "spread": float(torch.stack([b.flatten(1).std(1).mean() for b in theirs]).mean()),
    }


def matmul_peak(device: str, dtype: str, threads: int) -> float:
    """GFLOP/s of the best of ten products of square matrices, 2048 a side (CPU) or 8192."""
    torch.set_num_threads(threads)
    if device != "cpu":
        torch.set_float32_matmul_precision("high")
    n = PEAK_SIDE["cpu" if device == "cpu" else "cuda"]
    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    a, b = torch.randn(2, n, n, device=device, dtype=kind)
    case = Case(side="peak", device=device)
    best = min(_clocked(case, lambda: [a @ b])[0] for _ in range(13))
    return 2 * n**3 / best / 1e9


if __name__ == "__main__":
    wanted = Case(**json.loads(Path(sys.argv[1]).read_text()))
    if wanted.side == "peak":
        figures = {"gflops": matmul_peak(wanted.device, wanted.dtype, wanted.threads)}
    else:
        figures = measure(wanted)
    Path(sys.argv[2]).write_text(json.dumps(figures))
