"""Names in the place of files, in every key that takes one, for Detectron2's PathManager.

`stseg://small_world/clip_mini.pt` ships with the package; `weights://sam-vit-b` is fetched where it
is not here yet, by one of the processes that ask, while the others wait. Importing this module
registers both; code that opens files by itself calls `resolve` first.
"""

from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from stseg.utils import ASSETS
from stseg.weights.entries import BY_NAME, SHIPS, catalog
from stseg.weights.fetch import get


def resolve(path: str) -> str:
    """A path on this machine for any path Detectron2 takes (downloads and caches URLs and names).

    Raises:
        FileNotFoundError: for a `stseg://` path that does not ship.
        OSError: for a `weights://` name whose file cannot be fetched.
        ValueError: for a `weights://` name that is not in the table.
    """
    return PathManager.get_local_path(path)


class _AssetHandler(PathHandler):
    """Maps `stseg://X` to the package folder assets/X, for reading."""

    def _get_supported_prefixes(self) -> list[str]:
        return [SHIPS]

    @staticmethod
    def _to_asset(path: str) -> Path:
        asset = (ASSETS / path[len(SHIPS) :]).resolve()
        if not asset.is_relative_to(ASSETS):
            raise ValueError(f"{path}: expected a path inside the package, got {asset}.")
        return asset

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        asset = self._to_asset(path)
        if not asset.exists():
            raise FileNotFoundError(f"{path}: expected a file that ships with stseg, at {asset}.")
        return str(asset)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(f"{path}: files that ship with stseg are only for reading.")
        return open(self._get_local_path(path), mode, buffering, **kwargs)  # noqa: SIM115

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._to_asset(path).exists()

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return self._to_asset(path).is_file()

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return self._to_asset(path).is_dir()

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        return sorted(child.name for child in self._to_asset(path).iterdir())


class _NameHandler(PathHandler):
    """Maps `weights://NAME` to the file of that name."""

    def _get_supported_prefixes(self) -> list[str]:
        return [BY_NAME]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(get(path.removeprefix(BY_NAME)))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return path.removeprefix(BY_NAME) in catalog()

    _exists = _isfile


for handler in (_AssetHandler(), _NameHandler()):
    PathManager.register_handler(handler, allow_override=True)
