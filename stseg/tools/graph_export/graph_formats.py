"""The formats of graphs, and what each needs; imports neither."""

from stseg.utils import is_installed

#: Format -> ending of its files.
FORMATS = {"onnx": ".onnx", "torch.export": ".pt2"}


def check_installed(kind: str) -> None:
    """Refuse a format whose packages are not here.

    Args:
        kind: of `FORMATS`.

    Raises:
        ModuleNotFoundError: with the cure.
    """
    needed = ("onnx", "onnxscript") if kind == "onnx" else ()
    missing = [name for name in needed if not is_installed(name)]
    if missing:
        raise ModuleNotFoundError(
            f"--format {kind}: expected {' and '.join(missing)}, not installed here. "
            "Run: pip install 'stseg[onnx]'",
            name=missing[0],
        )
