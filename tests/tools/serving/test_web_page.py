import html
import json
import re

import numpy as np
import pytest

from stseg.tools.serving import Asked
from stseg.tools.serving.web_page import _ids, answer_html
from tests.tools.serving.conftest import LIMITS, WORDS, png


def upload(client, content, name="photo.png"):
    reply = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert reply.status_code == 200, reply.text
    return reply.json()[0]


def show(client, path, words=WORDS, threshold=0, distractors="", **file):
    """What the page shows, asked for as the browser does."""
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}, **file} if path else None
    data = [picture, words, threshold, distractors]
    body = {"data": data, "fn_index": 0, "session_hash": "abc", "event_data": None}
    joined = client.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    with client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as lines:
        for line in lines.iter_lines():
            message = json.loads(line.removeprefix("data: ") or "{}")
            if message.get("msg") == "process_completed":
                output = message["output"]
                return output["data"][0] if message["success"] else output["error"]


def test_a_picture_is_shown_and_other_words_do_not_encode_it_again(page_client, encodings):
    client, _ = page_client
    assert client.get("/").status_code == 200 and "stseg-overlay" in client.get("/").text
    path = upload(client, png())
    first = show(client, path)
    assert "stseg-overlay" in first and "red kite" in first and len(encodings) == 1
    second = show(client, path, words="moon; grass", threshold=0.99)
    assert ">moon<" in second and ">unknown<" in second and len(encodings) == 1
    link = re.search(r'href="(api/answers/[^"]+/overlay\.png)"', second)[1]
    assert client.get(f"/{link}").headers["content-type"] == "image/png"
    assert client.get("/api/health").json()["status"] == "ok"


def test_what_is_wrong_stands_on_the_page(page_client):
    client, _ = page_client
    assert "Picture: expected a file, got none" in html.unescape(show(client, None))
    path = upload(client, b"no picture", "x.png")
    assert "another kind" in show(client, path)
    assert "at most 50 names" in show(client, path, words=";".join(map(str, range(60))))
    assert "less than minimum value 0" in show(client, path, threshold=-1)
    assert "Words: expected some" in show(client, upload(client, png()), words="")
    shown = show(client, path, words="<script>alert(1)</script>" * 9)
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_values_of_another_type_and_faults_tell_nothing_of_the_program(
    page_client, predictor, monkeypatch
):
    client, _ = page_client
    path = upload(client, png())
    assert show(client, path, threshold="x") is None
    monkeypatch.setattr(predictor, "predict", lambda *_: 1 / 0)
    assert show(client, path) is None


def test_no_file_but_uploads_is_read_or_served(page_client, tmp_path, monkeypatch):
    client, uploads = page_client
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    fetched = []
    monkeypatch.setattr(
        "gradio.processing_utils.async_ssrf_protected_download",
        lambda *args, **_: fetched.append(args),
    )
    own = upload(client, png())
    assert own.startswith(str(uploads))
    outside = [str(secret), "/etc/passwd", f"{own}/../../../secret.png", "http://example.org/a.png"]
    for path in [*outside, f"{uploads}/{'0' * 64}/../../secret.png"]:
        assert "got another path" in (show(client, path) or "")
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    assert "stseg-overlay" not in (show(client, str(secret), url=own) or "")
    assert not fetched
    (uploads / ("1" * 64)).mkdir()
    (uploads / ("1" * 64) / "a.png").symlink_to(secret)
    assert "got another path" in show(client, str(uploads / ("1" * 64) / "a.png"))


def test_uploads_are_limited_and_their_names_lead_nowhere(page_client):
    client, uploads = page_client
    too_long = {"files": ("a.png", bytes(LIMITS.max_bytes + 1))}
    assert client.post("/gradio_api/upload", files=too_long).status_code == 413
    path = upload(client, png(), "../../../etc/passwd.png")
    assert path.startswith(f"{uploads}/") and ".." not in path


NAMES = ["<script>alert(1)</script>", "${alert(1)}", "{{constructor}}", 'a" onload="x', "it's", "`"]


def test_names_are_text_in_every_part_of_an_answer(service):
    asked = Asked.read("; ".join(NAMES), 0.0, "", LIMITS)
    shown = answer_html(service.segment(png(), asked))
    assert "<script" not in shown and 'onload="' not in shown
    assert not set("{}$`") & set(shown)
    names = html.unescape(re.search(r'data-names="([^"]*)"', shown)[1])
    assert json.loads(names) == [*NAMES, "unknown"]


def test_the_hidden_picture_holds_the_class_under_the_cursor(service):
    import io

    from PIL import Image

    answer = service.segment(png(), Asked.read(WORDS, 0.5, "", LIMITS))
    pixels = np.asarray(Image.open(io.BytesIO(_ids(answer, (40, 56))))).astype(int)
    labels = answer.segmentation.label_map
    ids = pixels[..., 0] + 256 * pixels[..., 1]
    assert (ids == np.where(labels < 0, 4, labels)).all()
    assert np.abs(pixels[..., 2] / 255 - answer.segmentation.confidence).max() < 0.003


@pytest.mark.parametrize(
    "route", ["/gradio_api/proxy=http://example.org/x", "/config", "/monitoring"]
)
def test_gradios_other_routes_show_no_path(page_client, route):
    client, uploads = page_client
    reply = client.get(route)
    assert reply.status_code < 500 and str(uploads) not in reply.text
