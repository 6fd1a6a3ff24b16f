"""Files that ship: what lies in `stseg/assets`, and the configs, which have names of their own."""

from os import PathLike, fspath
from pathlib import Path

from stseg.utils.texts import nearest

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def configs_folder() -> Path:
    """`configs/` of the checkout, or what `setup.py` has made of it in an installed package."""
    installed = ASSETS / "configs"
    return installed if installed.is_dir() else ASSETS.parents[1] / "configs"


def config_names() -> dict[str, Path]:
    """The configs that ship, such as "stseg/sed_convnextB_768", with their files."""
    folder = configs_folder()
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def config_path(config: str | PathLike[str]) -> Path:
    """The file of a config, wherever one is.

    Args:
        config: a YAML file, or one that ships by its stem, "stseg_mini", by its place below
            `configs/`, "mini/adapt_folder", or by that with all its parts.

    Raises:
        FileNotFoundError: if there is no such file; names the nearest that ships.
        ValueError: if several that ship have this stem.
    """
    text = fspath(config)
    path = Path(text).expanduser()
    if path.is_file():
        return path
    known = config_names()
    name = text.replace("\\", "/").removeprefix("configs/").removesuffix(".yaml")
    if name in known:
        return known[name]
    fits = [other for other in known if other.rpartition("/")[2] == name]
    if len(fits) > 1:
        raise ValueError(f"Config: expected one of {' and '.join(fits)}, got {text!r}.")
    if fits:
        return known[fits[0]]
    places = {other.rpartition("/")[2]: other for other in known} | {
        other: other for other in known
    }
    near = nearest(name, places)
    hint = f" Did you mean {places[near[0]]}?" if near else ""
    raise FileNotFoundError(
        "--config-file: expected an existing YAML file, or the name of one that ships, got "
        f"{text!r}.{hint}"
    )
