"""The two files of graphs, and what is written into them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.export import ExportedProgram

from stseg.modeling.meta_arch import export_answer_graphs
from stseg.tools.graph_export.about import ABOUT, GraphAbout, about_graphs
from stseg.tools.graph_export.graph_formats import FORMATS, check_installed
from stseg.utils import write_atomically

#: What the second graph takes after the features.
WORDS = ("embeds", "classes", "seen")

#: What a file in one piece can hold, a limit of protocol buffers.
_MOST_BYTES = 2**31 - 1


def write_graphs(
    model: nn.Module,
    cfg: CfgNode,
    folder: Path,
    kind: str = "onnx",
    size: tuple[int, int] | None = None,
) -> tuple[Path, Path]:
    """Write `encode` and `logits` of a model.

    Args:
        model: with its weights, in evaluation mode, float32.
        cfg: that it was built from.
        folder: to write to, made if missing.
        kind: of `FORMATS`.
        size: (H, W) of the only pictures that the first graph takes; None for pictures of any size.

    Returns:
        The files: image -> features; and features and words -> the answer, see
        `export_answer_graphs`. Each has the entry `ABOUT`, JSON of a `GraphAbout`.

    Raises:
        ModuleNotFoundError: if ONNX is asked for and not installed.
        ValueError: if the system has no graphs, or none like this; says why.
    """
    check_installed(kind)
    about = about_graphs(model, cfg, size)
    programs = export_answer_graphs(model, size, outputs=len(about.outputs))
    folder.mkdir(parents=True, exist_ok=True)
    encode, logits = (folder / f"{name}{FORMATS[kind]}" for name in ("encode", "logits"))
    write = _write_onnx if kind == "onnx" else _write_program
    write(programs[0], encode, about, ["image"], about.features)
    write(programs[1], logits, about, [*about.features, *WORDS], about.outputs)
    return encode, logits


def _write_program(
    program: ExportedProgram,
    path: Path,
    about: GraphAbout,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    del inputs, outputs  # a program has its own
    extra = {ABOUT: json.dumps(about.entry())}
    write_atomically(path, lambda file: torch.export.save(program, file, extra_files=extra))


def _write_onnx(
    program: ExportedProgram,
    path: Path,
    about: GraphAbout,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # tells of every node it leaves
    made = torch.onnx.export(
        program, dynamo=True, input_names=inputs, output_names=outputs, verbose=False
    )
    if made is None:
        raise RuntimeError("torch.onnx.export: expected a program, got none.")
    proto: Any = made.model_proto
    if proto.ByteSize() > _MOST_BYTES:
        raise ValueError(
            f"--format onnx: expected at most 2 GB in a file, got {proto.ByteSize() / 1e9:.1f} GB "
            f"in {path.name}. Use --format torch.export."
        )
    entry = proto.metadata_props.add()
    entry.key, entry.value = ABOUT, json.dumps(about.entry())
    write_atomically(path, proto.SerializeToString())
