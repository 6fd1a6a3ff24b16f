"""Files that ship with the package, addressed as `stseg://small_world/clip_mini.pt`.

Importing this module teaches Detectron2's PathManager such paths, so they work in every YAML key
that Detectron2 reads; code that opens files by itself calls `resolve` first.
"""

from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

PREFIX = "stseg://"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def resolve(path: str) -> str:
    """A path on this machine for any path Detectron2 takes (downloads and caches URLs).

    Raises:
        FileNotFoundError: for a `stseg://` path that does not ship.
    """
    return PathManager.get_local_path(path)


class _AssetHandler(PathHandler):
    """Maps `stseg://X` to the package folder assets/X, for reading."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    @staticmethod
    def _to_asset(path: str) -> Path:
        asset = (ASSETS / path[len(PREFIX) :]).resolve()
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


PathManager.register_handler(_AssetHandler(), allow_override=True)
