"""Command lines of any words: an exit code and a line, never a traceback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stseg.cli import stseg_command
from stseg.cli.main import COMMANDS

from .broken import seeded, soon, words

pytestmark = pytest.mark.slow
#: Not among them: what would go on to train, fetch or look at the whole machine.
TOKENS = st.one_of(
    words.filter(lambda text: "\0" not in text),
    st.sampled_from([
        "--config", "--config-file", "--weights", "--output", "--input", "--vocabulary",
        "--data", "--save", "--batch", "--shard", "--resume", "--opts", "--device",
        "--background", "--names", "--pred", "--gt", "--seen", "--images", "--num-gpus",
        "--dry-run", "--preview", "--bootstrap", "--json", "--help", "--version", "--dataset",
        "--folder", "--limit", "--near", "--first", "photos", "photos/a.png", "cat; dog",
        "names.txt", "broken.yaml", "out", "nothing", "-1", "0", "1/2", "overlay,coco",
        "threshold=2", "mine=labelme:photos", "MODEL.DEVICE", "cpu", "verify", "show", "prepare",
        "lint", "list", "check", "voc", "all", "ade20k_150_test_sem_seg",
    ]),
)  # fmt: skip
QUIET = [name for name in COMMANDS if name not in ("doctor", "train", "adapt", "reproduce")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    (tmp_path / "broken.yaml").write_text("MODEL: [")
    return tmp_path


@pytest.mark.parametrize("command", QUIET)
def test_any_words(place, command, capsys):
    kept = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}

    @seeded(80)
    @given(st.lists(TOKENS, max_size=6))
    def every(tokens):
        with soon():
            try:
                code = stseg_command([command, *tokens])
            except SystemExit as stop:
                code = stop.code
        assert code in (0, 1, 2) or isinstance(code, str), code
        assert "Traceback" not in capsys.readouterr().err
        assert all(path.read_bytes() == content for path, content in kept.items())

    every()
