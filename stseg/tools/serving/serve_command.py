"""A page in the browser and a REST endpoint that segment pictures with any words.

Opens the page at http://HOST:PORT/, and what programs send at /api/segment, described at /docs.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stseg.tools.prediction import DEFAULT, choose
from stseg.utils import is_installed, say

if TYPE_CHECKING:
    from stseg.tools.serving.picture_service import PictureService

_EXTRA = ("gradio", "fastapi", "uvicorn", "python_multipart")
_EXAMPLES = """\
examples:
  weights for photographs, then http://127.0.0.1:7860 in the browser:
    stseg serve
  the miniature, which knows drawn scenes only:
    stseg serve --config stseg_mini
  a program asks:
    curl -F image=@photo.jpg -F 'words=cat, kitten; sofa' http://127.0.0.1:7860/api/segment

there is no password: whoever reaches HOST may ask.
exit code: 0 = stopped by Ctrl-C, 1 = something is wrong or missing, 2 = wrong use."""


def serving_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        "stseg serve",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", "--config", default="", metavar="CONFIG", help="YAML file, or name of one"
        f" that ships; default: that of the weights, or of {DEFAULT}")  # fmt: skip
    add("--weights", default="", metavar="FILE", help="file, or a name of `stseg weights list`;"
        " default: those of the config")  # fmt: skip
    add("--device", help='such as "cpu"; default: the config\'s, if it is there')
    add("--host", default="127.0.0.1", help="address to listen at; default: %(default)s, which this"
        " machine alone reaches")  # fmt: skip
    add("--port", type=int, default=7860, help="0 takes any that is free; default: %(default)s")
    add("--queue", type=int, default=16, metavar="N", help="requests that may wait while one is"
        " served; more are told to come back; default: %(default)s")  # fmt: skip
    add("--kept-pictures", type=int, default=4, metavar="N", help="pictures that other words are"
        " asked about without encoding them again; default: %(default)s")  # fmt: skip
    add("--max-megabytes", type=float, default=20, metavar="MB", help="of a file; %(default)s")
    add("--max-megapixels", type=float, default=50, metavar="MP", help="of a picture; %(default)s")
    add("--max-names", type=int, default=500, metavar="N", help="of a request; %(default)s")
    add("--max-name-length", type=int, default=100, metavar="N", help="characters; %(default)s")
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys to change")
    return parser


def serving_command(argv: Sequence[str] | None = None) -> int:
    """Command line, see `--help`; serves until it is stopped.

    Returns:
        0. Wrong use leaves through `SystemExit(2)`, what is missing through `SystemExit(1)`.
    """
    parser = serving_parser()
    args = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    _check(parser, args)
    missing = [name for name in _EXTRA if not is_installed(name)]
    if missing:
        parser.exit(
            1,
            f"stseg serve: expected the extra stseg[serve], got none of {', '.join(missing)}. "
            "Install it: pip install 'stseg[serve]'\n",
        )
    place = _listen(args.host, args.port)  # before the model, which takes its time
    with place, tempfile.TemporaryDirectory(prefix="stseg-serve-") as uploads:
        _serve(args, _service(args), place, Path(uploads).resolve())
    return 0


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    least = {"queue": 0, "kept_pictures": 1, "max_names": 1, "max_name_length": 1}
    for name, value in least.items():
        if getattr(args, name) < value:
            flag = name.replace("_", "-")
            parser.error(f"--{flag}: expected a number from {value}, got {getattr(args, name)}.")
    for flag, size in (("megabytes", args.max_megabytes), ("megapixels", args.max_megapixels)):
        if not 0 < size < 1e5:
            parser.error(f"--max-{flag}: expected a number above 0, got {size}.")
    if not 0 <= args.port <= 65535:
        parser.error(f"--port: expected 0 to 65535, got {args.port}.")


def _listen(host: str, port: int) -> socket.socket:
    """A socket at the address.

    Raises:
        OSError: if there is no such address, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            f"--host, --port: expected an address of this machine and a free port, got {host} and "
            f"{port} ({error.strerror or error}). Give another --port, or 0 for any that is free."
        ) from error


def _service(args: argparse.Namespace) -> PictureService:
    from stseg.config import setup_cfg
    from stseg.predictor import Predictor
    from stseg.tools.serving.picture_service import PictureService
    from stseg.tools.serving.request_limits import Limits

    choice = choose(args.config_file, args.weights)
    cfg = setup_cfg(choice.config, args.opts, device=args.device)
    limits = Limits(
        max_bytes=int(args.max_megabytes * 1e6),
        max_pixels=int(args.max_megapixels * 1e6),
        max_names=args.max_names,
        max_name_length=args.max_name_length,
    )
    predictor = Predictor(cfg, weights=choice.weights)
    return PictureService(predictor, limits, kept_pictures=args.kept_pictures)


def _serve(
    args: argparse.Namespace, service: PictureService, place: socket.socket, uploads: Path
) -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # asks the network otherwise
    import uvicorn

    from stseg.tools.serving.rest_endpoint import build_api
    from stseg.tools.serving.waiting_line import WaitingLine
    from stseg.tools.serving.web_page import add_page

    line = WaitingLine(args.queue)
    app = add_page(build_api(service, line), service, line, uploads)
    host = f"[{args.host}]" if ":" in args.host else args.host
    say(f"http://{host}:{place.getsockname()[1]}/ (programs: /docs); Ctrl-C stops it")
    if not _is_loopback(args.host):
        say("note: whoever reaches this address may ask; there is no password.")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
    try:
        server.run(sockets=[place])
    finally:
        line.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
