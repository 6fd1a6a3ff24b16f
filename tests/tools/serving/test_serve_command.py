import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from stseg.tools.serving import serve_command
from tests.tools.serving.conftest import WORDS, png

ROOT = Path(__file__).resolve().parents[3]


def test_help_needs_neither_torch_nor_gradio():
    code = "import sys, stseg.cli\ntry: stseg.cli.stseg_command(['serve', '--help'])\n"
    code += "except SystemExit: pass\n"
    code += "assert not {'torch', 'detectron2', 'gradio', 'fastapi', 'cv2'} & set(sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "--max-megapixels" in result.stdout


def test_a_missing_extra_is_told_with_its_cure(monkeypatch, capsys):
    monkeypatch.setattr(serve_command, "is_installed", lambda name: name != "gradio")
    with pytest.raises(SystemExit, match="1"):
        serve_command.serving_command([])
    assert "none of gradio. Install it: pip install 'stseg[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--queue", "-1"), ("--kept-pictures", "0"), ("--max-names", "0"), ("--port", "70000"),
     ("--max-megabytes", "0"), ("--max-megapixels", "nan"), ("--max-name-length", "0")],
)  # fmt: skip
def test_faulty_flags_are_wrong_use(flag, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        serve_command.serving_command([flag, value])
    assert f"{flag}: expected" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_a_model_is_built():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"expected an address of this machine .* and {port}"):
            serve_command.serving_command(["--port", str(port), "--config", "nothing"])


def test_the_default_address_is_this_machine_alone():
    assert serve_command._is_loopback(serve_command.serving_parser().parse_args([]).host)
    assert not serve_command._is_loopback("0.0.0.0")


def test_the_command_serves_page_and_endpoint_until_it_is_stopped(tmp_path):
    command = [
        sys.executable,
        "-u",
        "-m",
        "stseg",
        "serve",
        "--config",
        "stseg_mini",
        "--port",
        "0",
    ]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen([*command, "--device", "cpu"], cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline, found = time.monotonic() + 300, None
        while found is None and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.5)
            found = re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text())
        assert found, (tmp_path / "log").read_text()
        url = found[0]
        files = {"image": ("a.png", png())}
        reply = httpx.post(f"{url}/api/segment", files=files, data={"words": WORDS}, timeout=120)
        assert reply.status_code == 200 and reply.json()["width"] == 56
        assert "stseg" in httpx.get(f"{url}/", timeout=60).text
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130)
    assert "Traceback" not in (tmp_path / "log").read_text()
