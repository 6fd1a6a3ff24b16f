import pytest
import torch

from stseg.config import setup_cfg
from stseg.data.readers.folders import register_from_cfg
from stseg.engine import Trainer
from stseg.engine.arguments import parse_args

from . import fakes


@pytest.fixture(scope="session")
def entry(tmp_path_factory):
    """A folder data set: entry for DATASETS.FOLDERS."""
    return fakes.make_data(tmp_path_factory.mktemp("data") / "train")


@pytest.fixture(autouse=True)
def _one_thread(clean_catalog):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_trainer(entry, tmp_path):
    """Builds a trainer as train_net does, without its logs."""

    def build(*opts, folder="run", seed=0):
        torch.manual_seed(seed)
        cfg = setup_cfg(opts=fakes.make_opts(entry, tmp_path / folder, *opts))
        (tmp_path / folder).mkdir(exist_ok=True)
        register_from_cfg(cfg)
        return Trainer(cfg)

    return build


@pytest.fixture
def run_train_net(entry, tmp_path):
    """Runs train_net in this process, in OUTPUT_DIR tmp_path/<folder>."""

    def run(*flags, opts=(), folder="run"):
        made = fakes.make_opts(entry, tmp_path / folder, *opts)
        return fakes.main(parse_args(["--num-gpus", "0", *flags, *made]))

    return run
