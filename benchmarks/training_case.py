"""Training steps of one side of `benchmarks.training`, measured in this process.

    python -m benchmarks.training_case CASE.json RESULT.json

imports stseg for our sides and the reference's checkout for the other, never both.
"""

import contextlib
import gc
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.case_settings import OURS, Case, TrainingCase
from benchmarks.inference_parts import Memory
from benchmarks.live_bytes import LiveBytes
from benchmarks.reference_sed import build

BLOCK = 32  # side of the squares of one class in the labels, in pixels
SED_PREFIX = "sem_seg_head.predictor."
CONFIG = "configs/stseg/sed_convnextB_768.yaml"

Step = Callable[[], dict[str, Tensor]]


def samples(case: TrainingCase, ignore_label: int) -> list[dict]:
    """Random images, and labels of squares with a tenth to be ignored, as Detectron2's dicts."""
    generator = torch.Generator().manual_seed(1)
    cells = -(-case.crop // BLOCK)
    result = []
    for _ in range(case.batch):
        size = (3, case.crop, case.crop)
        image = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        squares = torch.randint(0, case.classes, (cells, cells), generator=generator)
        squares[torch.rand(cells, cells, generator=generator) < 0.1] = ignore_label
        labels = squares.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        result.append({"image": image, "sem_seg": labels[: case.crop, : case.crop].contiguous()})
    return result


def measure(case: TrainingCase, made: tuple[nn.Module, Step] | None = None) -> dict:
    """Figures of a case.

    Args:
        case: what to measure.
        made: a model and its losses, instead of those of the case's side.

    Returns:
        "best_s" and "median_s" of a step (losses, gradients, AdamW), and "cpu_s", the least CPU
        time of one, which other programs disturb less; memory in MiB: "before_mib" the first step,
        "peak_mib" at the highest and "added_mib", the difference; "losses" and "gradient_norm" of
        the first step; where the reference was run also "difference". On the meta device only what
        `count` returns.
    """
    torch.set_num_threads(case.threads)
    _allow_tf32(False)
    model, losses_of = made or _make(case)
    if case.device == "meta":
        return count(model, losses_of)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-6)
    memory = Memory(case.device)
    before = memory.begin()
    peaks, times, cpu_times, result = [], [], [], {}
    for i in range(case.steps + 1):
        start, cpu = _clock(case), time.process_time()
        losses = losses_of()
        sum(losses.values()).backward()
        if i == 0:
            peaks.append(memory.peak())
            result = _first_step(case, losses, {name: p.grad for name, p in trained.items()})
            gc.collect()
            memory.reset()
            _allow_tf32(True)  # as SED trains; not where steps are compared
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(_clock(case) - start)
        cpu_times.append(time.process_time() - cpu)
    peak = max(*peaks, memory.peak())
    return {
        "best_s": min(times[1:]),
        "median_s": statistics.median(times[1:]),
        "cpu_s": min(cpu_times[1:]),
        "before_mib": before,
        "peak_mib": peak,
        "added_mib": peak - before,
        **result,
    }


def count(model: nn.Module, losses_of: Step) -> dict:
    """Memory of a step as the bytes of live tensors: what a GPU must hold, without having one.

    Returns:
        In MiB: "before_mib" a step: weights and buffers, the state of AdamW, embeddings;
        "peak_mib" at the highest; "added_mib", the difference.
    """
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        for _ in range(2):  # the first makes the optimizer's state
            before = live.now
            live.reset()
            sum(losses_of().values()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    before, peak = before / 2**20, live.peak / 2**20
    return {"before_mib": before, "peak_mib": peak, "added_mib": peak - before}


def _allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def _clock(case: TrainingCase) -> float:
    if case.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def _first_step(
    case: TrainingCase, losses: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]
) -> dict:
    """Losses and gradients, left for the other sides or compared with those left."""
    found = {
        "losses": {name: float(value.detach()) for name, value in losses.items()},
        "gradient_norm": float(
            torch.stack([g.double().norm() for g in gradients.values() if g is not None]).norm()
        ),
    }
    path = Path(case.folder) / "step.pt"
    if not case.folder:
        return found
    if case.side == "reference":
        torch.save({"losses": found["losses"], "gradients": dict(gradients)}, path)
    elif path.is_file():
        from stseg.checkpoint.sed import rename

        theirs = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        named = {rename(name): value for name, value in theirs["gradients"].items()}
        found["difference"] = compare(found["losses"], gradients, theirs["losses"], named)
    return found


def compare(
    losses: Mapping[str, float],
    gradients: Mapping[str, Tensor | None],
    their_losses: Mapping[str, float],
    their_gradients: Mapping[str, Tensor | None],
) -> dict:
    """How far a step is from another.

    Returns:
        "loss": the largest relative difference of a loss; "gradient": the length of the
        difference over the length of theirs, all parameters as one vector; "worst" and
        "worst_name": the same for the single tensor that differs most, among those that hold more
        than a millionth of the whole length (in the others rounding is all there is).

    Raises:
        RuntimeError: if one side has losses or gradients that the other has not.
    """
    ours = {name: g for name, g in gradients.items() if g is not None}
    theirs = {name: g for name, g in their_gradients.items() if g is not None}
    if losses.keys() != their_losses.keys() or ours.keys() != theirs.keys():
        odd = sorted((losses.keys() ^ their_losses.keys()) | (ours.keys() ^ theirs.keys()))
        raise RuntimeError(f"Expected losses and gradients of the same names, got also {odd}.")
    apart = {name: float((g.cpu().double() - theirs[name]).norm()) for name, g in ours.items()}
    length = {name: float(g.double().norm()) for name, g in theirs.items()}
    whole = sum(x**2 for x in length.values()) ** 0.5
    single = {name: apart[name] / x for name, x in length.items() if x > 1e-6 * whole}
    worst = max(single, key=single.__getitem__)
    return {
        "loss": max(abs(losses[k] - x) / abs(x) for k, x in their_losses.items()),
        "gradient": sum(x**2 for x in apart.values()) ** 0.5 / whole,
        "worst": single[worst],
        "worst_name": worst,
    }


def _make(case: TrainingCase) -> tuple[nn.Module, Step]:
    return _reference(case) if case.side == "reference" else _ours(case)


def _reference(case: TrainingCase) -> tuple[nn.Module, Step]:
    model = build(
        Path(case.reference),
        num_classes=case.classes,
        device=case.device,
        train=True,
        seed=0,
    )
    model.clip_resolution = (case.crop, case.crop)
    if case.folder:
        torch.save(model.state_dict(), Path(case.folder) / "weights.pt")
    dtype = getattr(torch, case.dtype)
    model.to(dtype)
    predictor = model.sem_seg_head.predictor
    predictor.text_features = predictor.text_features.to(dtype)
    batch = samples(case, ignore_label=255)

    def losses() -> dict[str, Tensor]:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints every parameter's name
            return model(batch)

    return model, losses


def _ours(case: TrainingCase) -> tuple[nn.Module, Step]:
    from benchmarks.inference_sides import our_side
    from stseg.structures import IGNORE_LABEL, Vocabulary

    weights = Path(case.folder) / "weights.pt" if case.folder else ""
    side = Case(
        side="stseg",
        classes=case.classes,
        image_size=case.crop,
        device=case.device,
        config_file=CONFIG,
        opts=[x for key in OURS[case.side] for x in (key, True)],
        weights=str(weights),
    )
    model = our_side(side).model.train().to(getattr(torch, case.dtype))
    if case.device == "meta":
        model.criterion._check = lambda *_: None  # there are no values to check
    vocabulary = Vocabulary.parse([[f"class {i}"] for i in range(case.classes)])
    batch = [{**x, "vocabulary": vocabulary} for x in samples(case, IGNORE_LABEL)]
    return model, lambda: model(batch)


if __name__ == "__main__":
    wanted = TrainingCase(**json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(measure(wanted)))
