#!/usr/bin/env python
"""Writes dev/lock/NAME.txt, by which `make LOCKED=1 demo` installs, for this Python and machine.

It holds what pip would install today for running, with the hash of every file; NAME-dev.txt beside
it holds what developers' tools add. Run the tests with what they name before you commit them.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BUILDS_STSEG = "setuptools>=77"  # or an editable installation would fetch it without a hash
_HEAD = """\
# Tested versions of {what}: Python {python} on {platform}. Made by dev/lock.py.
# Detectron2 itself: stseg/assets/detectron2.txt.
"""


def main() -> None:
    """Command line, see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", action="store_true", help="only print NAME")
    name = f"cp{sys.version_info.major}{sys.version_info.minor}-{sysconfig.get_platform()}"
    if parser.parse_args().name:
        sys.stdout.write(f"{name}\n")
        return
    everything = resolve([".[dev]", _BUILDS_STSEG])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as same:
        same.writelines(f"{entry.split()[0]}\n" for entry in everything)
        same.flush()
        running = resolve([".[photos]", _BUILDS_STSEG, "-c", same.name])
    folder = ROOT / "dev" / "lock"
    folder.mkdir(exist_ok=True)
    write(folder / f"{name}.txt", running, "what running needs")
    write(folder / f"{name}-dev.txt", sorted(set(everything) - set(running)), "developers' tools")


def resolve(wanted: list[str]) -> list[str]:
    """What pip would install into an empty environment: sorted lines "name==version --hash=H"."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    done = subprocess.run(
        [*command, "--report", "-", *wanted], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    entries = []
    for item in json.loads(done.stdout)["install"]:
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        if hashes:  # stseg itself has none
            name, version = item["metadata"]["name"], item["metadata"]["version"]
            # A local version such as 2.14.1+cu130 is what a file calls itself, not the registry.
            entries.append(
                f"{name.lower()}=={version.split('+')[0]} --hash=sha256:{hashes['sha256']}"
            )
    return sorted(entries)


def write(path: Path, entries: list[str], what: str) -> None:
    """A requirements file that says what it is of."""
    python = ".".join(map(str, sys.version_info[:3]))
    head = _HEAD.format(what=what, python=python, platform=sysconfig.get_platform())
    path.write_text(head + "".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    sys.stdout.write(f"{path}: {len(entries)} packages\n")


if __name__ == "__main__":
    main()
