"""What a vocabulary costs the text tower: cold, from memory, from disk, and the plain way.

A tower of real size with random weights embeds ADE20K's 847 classes with all their names (1281) or
an even sample of the names, under 80 templates. Every line but "from memory" is measured in a
process of its own:

    cold                  nothing is known, everything made is kept on disk
    from memory           the same again, as for every image after the first
    from disk             a new process, with the files of the first
    one class at a time   77 tokens per prompt and 80 prompts per pass, as SED does; on a few names

"CPU ms" is the work of all cores for a name, which other programs on the machine disturb less.
"Added" is the peak of resident memory above that before, which holds the tower. Operations are
counted on the first names in the alphabet and scaled; "of peak" is the share of what products of
two 2048 x 2048 matrices reach on the same threads in the same process.

Example:
    python -m benchmarks.text --threads 2 --json output/text.json
    python -m benchmarks.text --names 20 --threads 1
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference_parts import Memory
from benchmarks.report_file import write_report
from stseg import Vocabulary
from stseg.modeling.encoders.clip import create_clip
from stseg.modeling.text.encoder import CLIPTextEncoder

LIST = "vocab:ade20k_847"
ALL_NAMES = 1281
CASES = ("cold", "from disk", "one class at a time")
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
    prompts = [t.format(name) for name in names for t in vocabulary.templates]
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
    gflop = gflop_per_prompt(encoder, vocabulary) * different * len(vocabulary.templates)
    row |= {"gflops": gflop / seconds["seconds"], "peak_gflops": max(peak, matmul_gflops(args))}
    return [row, warm]


def one_at_a_time(encoder: CLIPTextEncoder, vocabulary: Vocabulary) -> Tensor:
    """The plain way: a pass per name, prompts padded to the context."""
    rows = []
    for name in vocabulary.names:
        tokens = encoder.tokenizer([t.format(name) for t in vocabulary.templates])
        embeds = encoder.tower.clip.encode_text(tokens.to(encoder.device))
        rows.append(F.normalize(embeds, dim=-1))
    return torch.stack(rows)


def measured_apart(case: str, args: argparse.Namespace, folder: str) -> list[dict]:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.text", "--case", case, "--folder", folder]
    for flag in ("names", "plain_names", "threads", "model", "device", "dtype"):
        if getattr(args, flag) is not None:
            command += [f"--{flag.replace('_', '-')}", str(getattr(args, flag))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(report: dict) -> None:
    """Print the table in Markdown, and what follows from it."""
    headers = ["", "names", "seconds", "ms per name", "CPU ms", "GFLOP/s", "of peak", "added, MiB"]
    cells = []
    for row in report["rows"]:
        speed = f"{row['gflops']:.0f}" if "gflops" in row else ""
        share = f"{100 * row['gflops'] / row['peak_gflops']:.0f} %" if speed else ""
        per_name = [f"{1e3 * row[k] / row['names']:.3g}" for k in ("seconds", "cpu_seconds")]
        cells.append(
            [row["case"], row["names"], f"{row['seconds']:.3g}", *per_name, speed, share]
            + [f"{row['added_mib']:.0f}"]
        )
    print(f"\n{report['model']}, {report['threads']} threads on {report['device']}\n")
    print(tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True))
    print(
        f"\nA name takes the plain way {report['speedup']:.1f} times as long as cold "
        f"({report['cpu_speedup']:.1f} times the work of cores); {ALL_NAMES} names take "
        f"{report['minutes_for_all']:.1f} minutes cold at this rate."
    )


def main(argv: Sequence[str] | None = None) -> dict | list[dict]:
    """Measure, print the table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--names", type=int, metavar="N", help=f"an even sample; default: all {ALL_NAMES}")
    add("--plain-names", type=int, default=3, metavar="N", help="for the plain way, default 3")
    add("--threads", type=int, default=os.cpu_count(), metavar="N", help="default: all cores")
    add("--model", default="convnext_base_w_320", metavar="NAME", help="open_clip architecture")
    add("--device", default="cpu")
    add("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"))
    add("--json", type=Path, metavar="FILE", help="file for the figures")
    add("--case", choices=CASES, help=argparse.SUPPRESS)
    add("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        rows = measure(args.case, args, args.folder)
        print(json.dumps(rows))
        return rows
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for case in CASES for row in measured_apart(case, args, folder)]
    wall, cpu = (
        {row["case"]: row[unit] / row["names"] for row in rows}
        for unit in ("seconds", "cpu_seconds")
    )
    report = {
        "command": ["python", "-m", "benchmarks.text", *argv],
        "model": args.model,
        "device": args.device,
        "dtype": args.dtype,
        "threads": args.threads,
        "torch": torch.__version__,
        "rows": rows,
        "speedup": wall["one class at a time"] / wall["cold"],
        "cpu_speedup": cpu["one class at a time"] / cpu["cold"],
        "minutes_for_all": wall["cold"] * ALL_NAMES / 60,
    }
    show(report)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
