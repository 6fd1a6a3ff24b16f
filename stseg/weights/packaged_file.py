"""Files of weights that installed packages bring, such as that of the extra `stseg[photos]`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


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
            FileNotFoundError: if the package is not installed, or has no such file.
            ValueError: if the file is another than the one meant.
        """
        wanted = f"{self.package} {self.version}"
        cure = f"Install it: pip install 'stseg[{self.extra}]'"
        spec = find_spec(self.package)
        folders = (spec.submodule_search_locations if spec else None) or []
        path = next((p for p in (Path(f, self.file) for f in folders) if p.is_file()), None)
        if path is None:
            found = "a package without that file" if spec else "no such package"
            raise FileNotFoundError(
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


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    """Read once in a process, unless the file changes."""
    del size, changed
    return hashlib.sha256(path.read_bytes()).hexdigest()
