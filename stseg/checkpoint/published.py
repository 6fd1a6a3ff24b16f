"""Loading of published checkpoints into our models, with every key accounted for."""

from collections.abc import Callable

from torch import Tensor, nn

from stseg.checkpoint import sed
from stseg.checkpoint.fit import check_fit
from stseg.checkpoint.reading import read_state_dict
from stseg.checkpoint.signatures import identify

# Published system -> how its keys are called here.
_READERS: dict[str, Callable[[str], str]] = {"SED": sed.rename}


def load_published(model: nn.Module, path: str) -> None:
    """Load a published checkpoint into a model built for it.

    SED's ConvNeXt-B and -L files load into `STSeg` with `MODEL.STSEG.DEA.ENABLED False`. Every
    key of the file must find its parameter, with its shape, and every parameter its key.

    Args:
        model: the model, changed in place only if all fits.
        path: local file, URL or `stseg://` path; Detectron2's `{"model": ...}` or a bare dict,
            with or without a "module." prefix.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint, another system's, or of another size.
    """
    state = read_state_dict(path)
    renamed, kind = rename_published(state, path)
    check_fit(model, renamed, path, path, kind=kind, is_whole=True)
    model.load_state_dict(renamed)


def rename_published(state: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a published checkpoint under our names, and the system it is of.

    Args:
        state: by their published names.
        where: what named the file, for messages.

    Raises:
        ValueError: if the file is another system's; names what it looks like, and the cure.
    """
    kind = identify(state)
    if kind not in _READERS:
        raise ValueError(
            f"{where}: expected a checkpoint of {' or '.join(_READERS)}, got one that looks like "
            f"{kind} ({len(state)} keys, the first {next(iter(state), 'none')!r}). {_cure(kind)}"
        )
    return {_READERS[kind](key): value for key, value in state.items()}, kind


def _cure(kind: str) -> str:
    cures = {
        "stseg": "Our own checkpoints load by MODEL.WEIGHTS.",
        "SAM": "Give it as MODEL.SAM.CHECKPOINT.",
        "an open_clip ConvNeXt": "Give it as MODEL.CLIP.PRETRAINED.",
        "an open_clip or OpenAI ViT": "Give it as MODEL.CLIP.PRETRAINED.",
    }
    return cures.get(kind, "It cannot be loaded into this model.")
