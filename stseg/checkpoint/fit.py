"""Whether a checkpoint's tensors are those of a model, and which config they would fit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]


def check_fit(
    model: nn.Module, state: Mapping[str, Tensor], where: str, path: str, *, kind: str = ""
) -> None:
    """Refuse tensors that are not all of the model's, each in its shape.

    Args:
        model: left as it is.
        state: tensors by name; the model's `own_files` and `training_parts` may be left out, each
            as a whole.
        where: what named the file, for messages, such as "MODEL.WEIGHTS".
        path: of the file.
        kind: what the file looks like, "" for one of ours.

    Raises:
        ValueError: tells how many differ, the first of each kind, and the config keys that the
            file would fit.
    """
    own, given = shapes_of(model.state_dict()), shapes_of(state)
    optional = (*getattr(model, "own_files", ()), *getattr(model, "training_parts", ()))
    misfit = _misfit(own, given, optional)
    if not misfit:
        return
    differing = fitting_keys(given, own)
    clip = config_of(given).get("MODEL.CLIP.NAME")
    looks = f", which looks like {kind}{f' with {clip}' if clip else ''}," if kind else ""
    cure = (
        f"The file would fit a config with {', '.join(differing)}."
        if differing
        else "Check that the config and the file belong together, and that the file is whole."
    )
    raise ValueError(
        f"{where}: expected the tensors of {type(model).__name__} as configured, got "
        f"{path!r}{looks} with {misfit}. {cure}"
    )


def without_training_misfits(
    model: nn.Module, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out parts that only losses use, each as a whole, where the model has others.

    Args:
        model: names them as `training_parts`; left as it is.
        state: tensors by name.

    Returns:
        What is left, and the names of the parts that are left out.
    """
    own, given, left_out = shapes_of(model.state_dict()), shapes_of(state), []
    for part in getattr(model, "training_parts", ()):
        theirs, mine = ({k: v for k, v in x.items() if k.startswith(part)} for x in (given, own))
        if theirs and theirs != mine:
            left_out.append(part)
    return {k: v for k, v in state.items() if not k.startswith(tuple(left_out))}, left_out


def _misfit(own: Shapes, given: Shapes, optional: Iterable[str]) -> str:
    """How a file's tensors differ from a model's, "" where every one has its place."""
    absent = tuple(p for p in optional if not any(name.startswith(p) for name in given))
    missing = [name for name in own if name not in given and not name.startswith(absent)]
    extra = [name for name in given if name not in own]
    shapes = [
        f"{name}: {given[name]} in the file, {own[name]} in the model"
        for name in own
        if name in given and given[name] != own[name]
    ]
    return "; ".join(
        f"{len(texts)} {what} ({_first(texts, mark)})"
        for texts, what, mark in (
            (missing, "tensors missing in the file", ", "),
            (extra, "tensors without a place in the model", ", "),
            (shapes, "shapes that differ", "; "),
        )
        if texts
    )


def fitting_keys(given: Shapes, own: Shapes) -> list[str]:
    """Config keys, as "KEY value", that the shapes of a file ask for and a model's do not."""
    mine, theirs = config_of(own), config_of(given)
    return [f"{key} {value}" for key, value in theirs.items() if value != mine.get(key, value)]


def config_of(shapes: Shapes) -> dict[str, Any]:
    """Config keys of STSeg that show in the shapes of its tensors; those that do not are left out.

    Args:
        shapes: by name, ours, see `stseg.checkpoint.sed.rename` for SED's.
    """
    found = {}
    for key, read in _READERS.items():
        try:
            value = read(shapes)
        except (KeyError, IndexError):  # not there
            continue
        if value is not None:
            found[key] = value
    return found


def _clip_name(shapes: Shapes) -> str | None:
    names = {
        (16, 2): "convnext_mini",
        (192, 8): "vit_mini",
        (128, 4): "convnext_base_w_320",
        (192, 4): "convnext_large_d_320",
        (768, 32): "ViT-B-32",
        (768, 16): "ViT-B-16",
        (1024, 14): "ViT-L-14",
    }
    tower = "image_encoder.visual"
    first = shapes.get(f"{tower}.trunk.stem.0.weight") or shapes[f"{tower}.conv1.weight"]
    return names.get((first[0], first[-1]))


def _of_stages(name: str, axis: int) -> Callable[[Shapes], list[int]]:
    return lambda shapes: [shapes[name.format(stage)][axis] for stage in range(3)]


def _has_dea(shapes: Shapes) -> bool:
    return any(name.startswith("dea.") for name in shapes)


def _has_sam_guidance(shapes: Shapes) -> bool:
    return any(name.startswith("sam_guidance.") for name in shapes)


def _templates(shapes: Shapes) -> list[str]:
    """The set that ships with so many; else words that no config takes, but people understand."""
    count = shapes["head.embed.weight"][1]
    return {1: ["single"], 14: ["vild_14"], 80: ["imagenet_80"]}.get(count, [f"{count} templates"])


def _text_dims(shapes: Shapes) -> list[int] | None:
    has_text = any(name.startswith("head.text_guidance.") for name in shapes)
    return _of_stages("head.text_guidance.{}.0.weight", 0)(shapes) if has_text else [0, 0, 0]


_READERS: dict[str, Callable[[Shapes], Any]] = {
    "MODEL.CLIP.NAME": _clip_name,
    "MODEL.STSEG.DEA.ENABLED": _has_dea,
    "MODEL.STSEG.DEA.GATE_ENABLED": lambda shapes: "dea.gate" in shapes,
    "MODEL.STSEG.DEA.GUIDANCE_ENABLED": _has_sam_guidance,
    "MODEL.TEXT.TEMPLATES": _templates,
    "MODEL.SEM_SEG_HEAD.HIDDEN_DIM": lambda shapes: shapes["head.embed.weight"][0],
    "MODEL.SEM_SEG_HEAD.DECODER_DIMS": _of_stages("head.stages.{}.fuse.layers.0.weight", 0),
    "MODEL.SEM_SEG_HEAD.GUIDANCE_DIMS": _of_stages("head.image_guidance.{}.0.weight", 0),
    "MODEL.SEM_SEG_HEAD.TEXT_GUIDANCE_DIMS": _text_dims,
    "MODEL.SEM_SEG_HEAD.KERNEL_SIZE": (
        lambda shapes: shapes["head.stages.0.spatial.depthwise.weight"][-1]
    ),
}


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Shapes by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def _first(texts: Sequence[str], mark: str) -> str:
    return mark.join(texts[:3]) + (f"{mark}..." if len(texts) > 3 else "")
