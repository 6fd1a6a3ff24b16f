import io

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from stseg.predictor import Predictor
from stseg.tools.serving import Limits, PictureService, WaitingLine, add_page, build_api

WORDS = "star; red kite; grass, lawn; sky"
LIMITS = Limits(max_bytes=100_000, max_pixels=40_000, max_names=50, max_name_length=40)


def png(seed=0, size=(40, 56), kind="PNG"):
    """Bytes of a picture that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size[::-1]).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def predictor():
    return Predictor("configs/mini/stseg_mini.yaml", device="cpu")


@pytest.fixture
def encodings(predictor):
    """A list that grows by one with every picture that is encoded."""
    seen = []
    hook = predictor.model.image_encoder.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    hook.remove()


@pytest.fixture
def service(predictor):
    return PictureService(predictor, LIMITS, kept_pictures=2)


@pytest.fixture
def app(service, request):
    line = WaitingLine(length=5)
    request.addfinalizer(line.close)
    return build_api(service, line)


@pytest.fixture
def client(app):
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def page_client(service, tmp_path, request):
    """A client of the whole server, the page included, and the folder of uploads."""
    line = WaitingLine(length=5)
    request.addfinalizer(line.close)
    uploads = (tmp_path / "uploads").resolve()
    uploads.mkdir()
    app = add_page(build_api(service, line), service, line, uploads)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, uploads
