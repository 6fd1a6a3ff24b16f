"""A text tower of random weights, and what a vocabulary costs it in this process."""

import argparse
import time
from collections.abc import Callable

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference_parts import Memory
from stseg import Vocabulary
from stseg.modeling.encoders import create_clip
from stseg.modeling.text import CLIPTextEncoder

LIST = "vocab:ade20k_847"
COUNTED_NAMES = 25


def vocabulary_of(names: int | None) -> Vocabulary:
    """The whole list, or an even sample of its different names as classes of their own."""
    whole = Vocabulary.parse(LIST, allow_shared_names=True)
    if names is None:
        return whole
    every = sorted({name for group in whole.synonyms for name in group})
    names = min(names, len(every))
    return Vocabulary.parse([[every[i * len(every) // names]] for i in range(names)])


def make_encoder(args: argparse.Namespace, cache_dir: str = "") -> CLIPTextEncoder:
    """The tower with the same random weights in every process."""
    torch.manual_seed(0)
    clip = create_clip(args.model).eval()
    encoder = CLIPTextEncoder(
        clip, open_clip.get_tokenizer(args.model), dtype=args.dtype, cache_dir=cache_dir
    )
    return encoder.to(args.device)


def timed(call: Callable[[], Tensor]) -> tuple[dict[str, float], Tensor]:
    """Seconds on the clock and of all cores' work, and the answer."""
    start, cpu = time.perf_counter(), time.process_time()
    answer = call()
    if answer.is_cuda:
        torch.cuda.synchronize()
    seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    return seconds, answer


def matmul_gflops(args: argparse.Namespace) -> float:
    """What products of large matrices reach here, the best of six."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[args.dtype]
    a = torch.randn(2048, 2048, device=args.device, dtype=dtype)
    return 2 * 2048**3 / min(timed(lambda: a @ a)[0]["seconds"] for _ in range(6)) / 1e9


def gflop_per_prompt(encoder: CLIPTextEncoder, vocabulary: Vocabulary) -> float:
    """Of the first names in the alphabet, which are encoded together."""
    names = sorted({name for group in vocabulary.synonyms for name in group})[:COUNTED_NAMES]
    prompts = [t.format(name) for name in names for t in encoder.templates]
    with FlopCounterMode(display=False) as counter:
        encoder.encode_prompts(prompts)
    return counter.get_total_flops() / len(prompts) / 1e9


@torch.no_grad()
def measure(case: str, args: argparse.Namespace, folder: str) -> list[dict]:
    """Rows of a case, measured in this process."""
    torch.set_num_threads(args.threads)
    plain = case == "one class at a time"
    vocabulary = vocabulary_of(args.plain_names if plain else args.names)
    encoder = make_encoder(args, "" if plain else folder)
    # Before the clock runs: threads and kernels start with the first product.
    peak = matmul_gflops(args)
    memory = Memory("cpu")
    before = memory.begin()
    if plain:
        seconds, embeds = timed(lambda: one_at_a_time(encoder, vocabulary))
    else:
        seconds, embeds = timed(lambda: encoder(vocabulary).embeds)
    row = {"case": case, "names": len(embeds), **seconds}
    row["added_mib"] = memory.peak() - before
    if plain:
        row["difference"] = float((encoder(vocabulary).embeds - embeds).abs().max())
        return [row]
    if case == "from disk":
        return [row]
    again, _ = timed(lambda: encoder(vocabulary).embeds)
    warm = {**row, "case": "from memory", **again}
    warm["added_mib"] = memory.peak() - before
    different = len({name for group in vocabulary.synonyms for name in group})
    gflop = gflop_per_prompt(encoder, vocabulary) * different * len(encoder.templates)
    row |= {"gflops": gflop / seconds["seconds"], "peak_gflops": max(peak, matmul_gflops(args))}
    return [row, warm]


def one_at_a_time(encoder: CLIPTextEncoder, vocabulary: Vocabulary) -> Tensor:
    """The plain way: a pass per name, prompts padded to the context."""
    rows = []
    for name in vocabulary.names:
        tokens = encoder.tokenizer([t.format(name) for t in encoder.templates])
        embeds = encoder.tower.clip.encode_text(tokens.to(encoder.device))
        rows.append(F.normalize(embeds, dim=-1))
    return torch.stack(rows)
