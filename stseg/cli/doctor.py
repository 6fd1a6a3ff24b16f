"""What is wrong with an installation, and the cure: libraries, GPU, memory, disk, data, weights.

At the end a scene of the small world is drawn and segmented on the CPU, and on the GPU where there
is one. Nothing is installed, fetched or changed, unless --install-detectron2 asks for it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import stseg
from stseg.tools import GOOD, NOTE, WRONG, Observation, observation_text
from stseg.tools.doctor import examine, install_detectron2
from stseg.utils import say

if TYPE_CHECKING:
    from stseg.tools.doctor import SmokeScene

_EPILOG = """\
exit code: 0 = nothing is wrong, 1 = something is, 2 = wrong use."""
#: A scene that no training has seen.
_SEED = 4_000_000


def run(argv: Sequence[str]) -> int:
    """`stseg doctor`, see `--help`.

    Returns:
        0, or 1 where something is wrong.

    Raises:
        OSError: if Detectron2 cannot be installed.
    """
    parser = argparse.ArgumentParser(
        "stseg doctor",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-run", action="store_true", help="leave out the smoke run")
    parser.add_argument("--json", action="store_true", help="all findings, as JSON")
    parser.add_argument("--install-detectron2", action="store_true", help="put a pinned wheel of"
        " Detectron2 into this Python where there is none, and stop")  # fmt: skip
    args = parser.parse_args(argv)
    if args.install_detectron2:
        new = install_detectron2()
        say(f"Detectron2 {'is installed' if new else 'is there already'}.")
        return 0
    found = []
    for seen in _examine(None if args.no_run else _scene):
        found.append(seen)
        if not args.json:
            say(observation_text(seen))
    counts = {status: sum(s.status == status for s in found) for status in (GOOD, NOTE, WRONG)}
    if args.json:
        say(json.dumps([asdict(seen) for seen in found], indent=2))
    else:
        say(_verdict(counts[WRONG], counts[NOTE], not args.no_run))
    return int(counts[WRONG] > 0)


def _examine(scene: Callable[[], SmokeScene] | None) -> Iterator[Observation]:
    """Everything, after which copy of this project speaks."""
    yield Observation(GOOD, "stseg", f"{stseg.__version__}, {stseg.__path__[0]}")
    yield from examine(scene)


def _verdict(wrong: int, notes: int, ran: bool) -> str:
    more = f", {notes} to know of" if notes else ""
    if wrong:
        things = "thing is" if wrong == 1 else "things are"
        return f"\n{wrong} {things} wrong{more}. Begin with the first one."
    return f"\nNothing is wrong{more}." + (" stseg works here." if ran else "")


def _scene() -> SmokeScene:
    from stseg.small_world import CLASS_NAMES, render
    from stseg.tools.doctor import SmokeScene
    from stseg.weights import find

    scene = render(_SEED, 0)
    config = find("stseg-mini").config_file()
    return SmokeScene(scene.image, scene.label_map, CLASS_NAMES, config)
