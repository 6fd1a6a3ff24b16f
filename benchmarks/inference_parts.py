"""What each part of a segmentor costs, seen from outside: nothing in the model is changed.

A part is a label and the places that belong to it, written as `path.of.a.module` (its forward) or
`path.of.a.module:method`. Places that a model does not have are left out. What a part spends in
another part counts for that other part only, so that the parts add up to the whole.
"""

import contextlib
import ctypes
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.evaluators import memory_mib

REST = "post-processing"  # all that is in no other part
_STAGE_PARTS = {"spatial": "cnext", "attention": "attention", "upsample": "up", "fuse": "conv"}

Places = dict[str, tuple[str, ...]]


def our_parts() -> Places:
    """The parts of `STSeg`; see `inference_sides` for those that are no modules."""
    return {
        "CLIP": ("image_encoder",),
        "SAM": ("sam_encoder",),
        "DEA": ("dea",),
        "cost volume": ("head.embed",),
        "image guidance": tuple(f"head.image_guidance.{i}" for i in range(3)),
        "score guidance": tuple(f"head.score_guidance.{i}" for i in range(3)),
        "ConvNeXt blocks": tuple(f"head.stages.{i}.spatial:forward_in_blocks" for i in range(3)),
        "decoder, rest": ("head",),
    }


def sed_parts(detail: bool = False) -> Places:
    """The same parts of SED."""
    clip, decoder = "sem_seg_head.predictor.clip_model", "sem_seg_head.predictor.transformer"
    return {
        "CLIP": (f"{clip}.visual",),
        "cost volume": (f"{decoder}:correlation", f"{decoder}.conv1"),
        "image guidance": tuple(f"{decoder}.decoder_guidance_projection.{i}" for i in range(3)),
        "score guidance": tuple(
            f"{decoder}.decoder_corr_guidance_projection.{i}" for i in range(3)
        ),
        **_stages([f"{decoder}.decoder{i}" for i in (1, 2, 3)], detail),
        "heads": tuple(f"{decoder}.head{i}" for i in ("", 0, 1, 2)),
        "decoder, rest": (decoder,),
    }


def _stages(paths: Sequence[str], detail: bool) -> Places:
    parts = {}
    for i, path in enumerate(paths, start=1):
        parts[f"stage {i}"] = (path,)
        if detail:
            for step, name in _STAGE_PARTS.items():
                parts[f"stage {i}, {step}"] = (f"{path}.{name}",)
    return parts


class Meter:
    """Adds up, by part, how far a counter that only grows moves while the part runs."""

    def __init__(self, counter: Callable[[], float]):
        self.counter = counter
        self.spent: dict[str, float] = {}
        self._inner: list[float] = []

    def wrap(self, label: str, function: Callable) -> Callable:
        """`function`, metered."""

        def metered(*args, **kwargs):
            self._inner.append(0.0)
            start = self.counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = self.counter() - start
                own = spent - self._inner.pop()
                self.spent[label] = self.spent.get(label, 0.0) + own
                if self._inner:
                    self._inner[-1] += spent

        return metered


class PeakMeter:
    """The highest memory, in MiB, that was in use while a part ran, other parts in it included."""

    def __init__(self, memory: "Memory"):
        self.memory = memory
        self.spent: dict[str, float] = {}
        self._peaks: list[float] = []

    def wrap(self, label: str, function: Callable) -> Callable:
        """`function`, metered."""

        def metered(*args, **kwargs):
            self._close()
            self._peaks.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                self._close()
                peak = self._peaks.pop()
                self.spent[label] = max(self.spent.get(label, 0.0), peak)
                if self._peaks:
                    self._peaks[-1] = max(self._peaks[-1], peak)

        return metered

    def _close(self) -> None:
        """End a stretch of the part that runs now."""
        if self._peaks:
            self._peaks[-1] = max(self._peaks[-1], self.memory.peak())
        self.memory.reset()


class Memory:
    """Memory of this process in MiB: resident (Linux), or PyTorch's on a GPU."""

    def __init__(self, device: str):
        self.cuda = device.startswith("cuda")

    def now(self) -> float:
        """In use."""
        return torch.cuda.memory_allocated() / 2**20 if self.cuda else memory_mib("VmRSS")

    def peak(self) -> float:
        """The most in use since `reset`."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.cuda else memory_mib("VmHWM")

    def begin(self) -> float:
        """Give back what building left behind, which would hide what a call needs.

        Returns:
            What is in use; a new peak begins.
        """
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        before = self.now()
        self.reset()
        return before

    def reset(self) -> None:
        """Begin a new peak. Where Linux does not allow it, the peak is that of the process."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


@contextlib.contextmanager
def metered(
    model: nn.Module,
    parts: Mapping[str, Sequence[str]],
    meter: Meter | PeakMeter,
    functions: Mapping[str, tuple[object, str]] | None = None,
) -> Iterator[Callable[[Callable], Callable]]:
    """Meter the parts of a model while the context lasts.

    Args:
        model: whose modules are metered.
        parts: label -> places, see the head of this file.
        meter: what adds up.
        functions: label -> (module of Python, name) of functions that are parts, too.

    Yields:
        What makes a metered function of the whole call, whose own share is `REST`.
    """
    undo: list[tuple[object, str, object, bool]] = []

    def replace(owner: object, name: str, label: str) -> None:
        function = getattr(owner, name, None)
        if callable(function):
            undo.append((owner, name, function, name in vars(owner)))
            setattr(owner, name, meter.wrap(label, function))

    for label, places in parts.items():
        for place in places:
            path, _, method = place.partition(":")
            owner = find(model, path)
            if owner is not None:
                replace(owner, method or "forward", label)
    for label, (owner, name) in (functions or {}).items():
        replace(owner, name, label)
    try:
        yield lambda function: meter.wrap(REST, function)
    finally:
        for owner, name, function, own in reversed(undo):
            if own:
                setattr(owner, name, function)
            else:
                delattr(owner, name)


def find(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, None where there is none."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None
