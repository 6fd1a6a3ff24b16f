"""Fixtures every test may use."""

import logging
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of fixtures and real data beside the checkout, or $STSEG_SHARED."""
    default = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("STSEG_SHARED", default))
    if not path.is_dir():
        pytest.skip(f"needs the shared fixtures: no folder {path}; set STSEG_SHARED")
    return path


@pytest.fixture(scope="session")
def photos_extra() -> Path:
    """The network of the extra `stseg[photos]`; skips where it is not installed."""
    from stseg.weights import PHOTO_NETWORK

    try:
        return PHOTO_NETWORK.path()
    except FileNotFoundError as error:
        pytest.skip(f"needs the extra stseg[photos]: {error}")


@pytest.fixture
def without_photos_extra(monkeypatch):
    """As if the extra `stseg[photos]` were not installed."""
    from stseg.weights import PackagedFile

    monkeypatch.setattr(PackagedFile, "_place", lambda self: None)


@pytest.fixture(autouse=True)
def _log_as_before():
    """Undo what a test's command line does to the package's logger: the next one listens to it."""
    logger = logging.getLogger("stseg")
    before = logger.level, logger.propagate
    yield
    logger.setLevel(before[0])
    logger.propagate = before[1]


@pytest.fixture
def clean_catalog():
    """Forget the data sets a test registers."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from stseg.data.readers import folders

    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name)
        folders._registered.pop(name, None)


@pytest.fixture
def label_cache_dir(tmp_path, monkeypatch):
    """A label cache of the test's own."""
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A server for all files of the table of weights, and an empty cache; see `weight_server`."""
    from stseg.weights import download, entries
    from tests.helpers.weight_server import serving, write_table

    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with serving() as shop:
        monkeypatch.setattr(entries, "TABLE", write_table(tmp_path / "table.json", shop.url))
        yield shop


@pytest.fixture
def served(shop, tmp_path, monkeypatch, shared_dir):
    """The shop with SED in small, whose config stands in the table."""
    from stseg.weights import entries
    from tests.helpers.served_sed import serve_sed

    monkeypatch.setattr(entries, "TABLE", serve_sed(shop, tmp_path, shared_dir))
    return shop


def pytest_collection_modifyitems(items):
    """The longest ones first, or the other processes wait for the one that has them last."""
    items.sort(key=lambda item: item.path.name not in ("test_wheel.py", "test_parity_model.py"))
