"""Whatever is sent, the reply is a message with a status of 4xx, and nothing else."""

import io
import struct
import zlib

import pytest
from PIL import Image

from stseg.tools.serving import request_limits
from tests.tools.serving.conftest import LIMITS, WORDS, png
from tests.tools.serving.test_rest_endpoint import ask


def bomb(side=30_000):
    """A PNG of few bytes that says it has 900 megapixels."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(20_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def postscript():
    """Pillow hands such files to Ghostscript, if they get that far."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    return buffer.getvalue()


def is_refused(reply, status, *texts):
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    message = reply.json()["error"]
    assert all(text in message for text in texts), message
    assert "Traceback" not in message and 'File "' not in message and len(message) < 700
    return True


PICTURES = {
    "text": (b"#!/bin/sh\nrm -rf /\n", 415, "Picture: expected JPEG, PNG"),
    "svg": (b"<svg onload='alert(1)'/>", 415, "another kind"),
    "postscript": (postscript(), 415, "another kind"),
    "ppm": (png(kind="PPM"), 415, "another kind"),
    "empty": (b"", 422, "empty"),
    "cut": (png()[:300], 422, "cannot be decoded"),
    "bomb": (bomb(), 413, "at most 0.04 megapixels, got 900.0 (30000 x 30000)"),
    "large": (png(size=(201, 200)), 413, "expected at most 0."),
    "long": (png() + bytes(LIMITS.max_bytes), 413, "expected at most 0.1 MB, got 0.1 MB"),
    "very long": (bytes(10 * LIMITS.max_bytes), 413, "Request: expected at most 0."),
}


@pytest.mark.parametrize("name", PICTURES)
def test_files_that_are_no_picture_or_too_large_are_refused(client, name, encodings):
    content, status, text = PICTURES[name]
    assert is_refused(ask(client, content), status, text) and not encodings


def test_a_bomb_is_refused_before_a_pixel_is_decoded(client, monkeypatch):
    monkeypatch.setattr(request_limits, "read_image", lambda _: pytest.fail("was decoded"))
    assert is_refused(ask(client, bomb()), 413, "megapixels")


def test_a_body_without_a_length_is_cut_off(client):
    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(50):
            yield bytes(20_000)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = client.post("/api/segment", content=parts(), headers=kind)
    assert is_refused(reply, 413, "Request: expected at most")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\x", "a" * 3000, "\u202e.png"]
)
def test_the_name_of_a_file_is_not_looked_at(client, name):
    files = {"image": (name, png())}
    assert client.post("/api/segment", files=files, data={"words": WORDS}).status_code == 200
    files = {"image": (name, b"no picture")}
    reply = client.post("/api/segment", files=files, data={"words": WORDS})
    assert is_refused(reply, 415) and "passwd" not in reply.text


WORD_CASES = {
    "many": (";".join(f"n{i}" for i in range(10_000)), "at most 50 names", "got 10000"),
    "many synonyms": (",".join(f"n{i}" for i in range(51)), "at most 50 names", "got 51"),
    "a long list that ships": ("vocab:ade20k_150", "at most 50 names", "got "),
    "no such list": ("vocab:../../secret", "expected vocab: with one of", "got "),
    "long name": ("x" * 41, "at most 40 characters", "one of 41"),
    "file": ("/etc/hosts.txt", "looks like a file", "The server opens none"),
    "empty": (" ; ", "expected a name, got an empty one", ""),
    "none": ("", "words: expected", ""),
    "twice": ("cat; Cat", "expected a name of its own", ""),
    "control": ("cat\x00dog", "control character U+0000", "Take it out"),
}


@pytest.mark.parametrize("case", WORD_CASES)
def test_faulty_words_are_refused(client, case):
    words, *texts = WORD_CASES[case]
    assert is_refused(ask(client, words=words), 422, *texts)


def test_words_of_a_strange_alphabet_cannot_break_the_reply(client):
    content = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + png()
    content += (
        b'\r\n--x\r\nContent-Disposition: form-data; name="words"\r\n\r\ncat\\ud800\r\n--x--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    reply = client.post("/api/segment", content=content, headers=kind)
    assert 400 <= reply.status_code < 500 and list(reply.json()) == ["error"]


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.5", "inf", "much"])
def test_faulty_thresholds_are_refused(client, value):
    assert is_refused(ask(client, threshold=value), 422, "threshold: expected")


def test_a_distractor_list_is_no_file_either_and_counts(client):
    assert is_refused(ask(client, distractors="/etc/names.json"), 422, "looks like a file")
    assert is_refused(ask(client, distractors=";".join(map(str, range(60)))), 422, "at most 50")
    assert is_refused(ask(client, distractors="sky"), 422, "outside the vocabulary")


def test_a_script_in_a_name_stays_text(client):
    reply = ask(client, words="<script>alert(1)</script>; sky")
    assert reply.status_code == 200 and reply.headers["content-type"] == "application/json"
    assert reply.json()["classes"][0]["name"] == "<script>alert(1)</script>"


def test_other_ways_in_lead_nowhere(client):
    assert is_refused(client.post("/api/segment", data={"words": "cat"}), 422, "image: expected")
    assert is_refused(client.get("/api/segment"), 405)
    assert is_refused(client.get("/api/answers/x/labels.png"), 404, "Answer: expected")
    for path in (
        "/api/answers/x/..%2f..%2fetc%2fpasswd",
        "/api/answers/x/passwd",
        "/../etc/passwd",
    ):
        assert 400 <= client.get(path).status_code < 500


def test_a_fault_of_the_program_shows_no_trace(client, predictor, monkeypatch):
    monkeypatch.setattr(predictor, "predict", lambda *_: 1 / 0)
    assert is_refused(ask(client), 500, "fault of the program")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_picture_without_room_is_refused(client, predictor, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(predictor, "keep_image", full)
    assert is_refused(ask(client), 413, "memory")
