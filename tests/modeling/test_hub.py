import huggingface_hub
import open_clip
import pytest

from stseg.modeling.encoders import create_clip
from stseg.modeling.encoders.hub import file_of_tag

OURS = ("convnext_base_w_320", "laion_aesthetic_s13b_b82k")


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("STSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "tag", "cure"),
    [
        (*OURS, "run `stseg weights get clip-convnextB` where there is one, and set STSEG_WEIGHTS"),
        ("ViT-B-16", "openai", "put a file of https://huggingface.co/timm/vit_base_patch16"),
    ],
)
def test_without_network_a_tag_is_refused_at_once_with_the_cure(monkeypatch, name, tag, cure):
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("was tried"))
    with pytest.raises(FileNotFoundError, match="MODEL.CLIP.PRETRAINED: expected the weights") as e:
        create_clip(name, tag)
    assert cure in str(e.value) and f"{tag!r} of {name}" in str(e.value)


def test_the_tables_own_file_stands_for_its_tag(tmp_path):
    (tmp_path / "convnext_base_w_320-laion_aesthetic_s13b_b82k.bin").write_bytes(b"PK")
    assert file_of_tag(*OURS).startswith(str(tmp_path))


def test_what_lies_in_the_cache_needs_no_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a: "/somewhere")
    assert file_of_tag(*OURS) == ""


def test_a_hub_that_answers_is_left_to_open_clip(monkeypatch):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        assert file_of_tag(*OURS) == ""
