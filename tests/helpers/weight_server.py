"""A server of weight files on this machine, with the faults that real ones have."""

import json
import re
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stseg.utils import ASSETS

PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


@dataclass
class Shop:
    """What is served, how, and what was asked for.

    Attributes:
        files: content by name.
        cut_after: bytes after which a connection is dropped, in turn; None sends all.
        status: answers by this alone, such as 404.
        slow: seconds before each block of 16 KiB.
        requests: the Range asked for, "" for the whole, one for each request.
        sent: bytes, one count for each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int | None] = field(default_factory=list)
    takes_range: bool = True
    status: int = 200
    page: bool = False
    slow: float = 0.0
    requests: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    url: str = ""

    def version(self, name):
        return f'"{hash(self.files[name])}"'


def _handler(shop):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            asked = self.headers.get("Range", "")
            shop.requests.append(asked)
            if shop.status != 200:
                return self.send_error(shop.status)
            name = self.path.rsplit("/", 1)[-1]
            content = PAGE if shop.page else shop.files[name]
            same = self.headers.get("If-Range") == (None if shop.page else shop.version(name))
            start = 0
            if asked and same and shop.takes_range:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
                if start >= len(content):
                    return self.send_error(416)
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Type", "text/html" if shop.page else "application/zip")
            self.send_header("Content-Length", str(len(content) - start))
            if not shop.page:
                self.send_header("ETag", shop.version(name))
            self.end_headers()
            cut = shop.cut_after.pop(0) if shop.cut_after else None
            body = content[start:] if cut is None else content[start : start + cut]
            shop.sent.append(len(body))
            with suppress(ConnectionError):  # of a process that was killed
                for at in range(0, len(body), 1 << 14):
                    time.sleep(shop.slow)
                    self.wfile.write(body[at : at + (1 << 14)])

    return Handler


@contextmanager
def serving():
    """A `Shop` that is open inside."""
    shop = Shop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(shop))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    shop.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_table(path, url, **changes):
    """The table that ships, with each file at a server and no hash, and fields of some changed.

    Args:
        changes: fields by the name of an entry, "_" for "-".
    """
    rows = json.loads((ASSETS / "weights.json").read_text(encoding="utf-8"))
    for name, row in rows.items():
        if row["url"].startswith("http"):
            row |= {"url": f"{url}/{row['file']}", "size": None, "sha256": None}
        row |= changes.get(name.replace("-", "_"), {})
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
