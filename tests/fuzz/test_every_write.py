"""SIGKILL and a full disk at every file that a run writes: resumed, it ends as it would have."""

import signal

import pytest

from stseg.evaluation import read_results
from tests.engine import fakes
from tests.engine.test_resume import OPTS, assert_same_run
from tests.self_training import round_runs as runs
from tests.self_training.test_rounds_resume import CHANGES

pytestmark = pytest.mark.slow
FAKES = (runs.load_module, "tests.engine.fakes")


class Adaptation:
    """Two rounds on four images."""

    def __init__(self, folder):
        self.data = runs.make_images(folder / "data", count=4)

    def argv(self, output, resume=False):
        return runs.make_argv(self.data, output, CHANGES, flags=["--resume"] * resume)

    same = staticmethod(runs.assert_same_end)


class Training:
    """Twelve steps with checkpoints and evaluations."""

    def __init__(self, folder):
        self.entry = fakes.make_data(folder / "data")

    def argv(self, output, resume=False):
        opts = fakes.make_opts(self.entry, output, *OPTS)
        return ["--num-gpus", "0", *["--resume"] * resume, *opts]

    same = staticmethod(assert_same_run)


class Evaluation(Training):
    """Ten images, with counts saved after every second."""

    def __init__(self, folder):
        super().__init__(folder)
        trained, self.weights = folder / "trained", folder / "trained" / "model_final.pth"
        assert runs.run_in_process(Training.argv(self, trained), folder / "log", FAKES) == 0

    def argv(self, output, resume=False):
        more = ("TEST.EVALUATOR.SAVE_EVERY", 2, "MODEL.WEIGHTS", str(self.weights))
        opts = fakes.make_opts(self.entry, output, *OPTS, *more)
        return ["--num-gpus", "0", "--eval-only", *opts]

    @staticmethod
    def same(first, second):
        one, two = (read_results(folder / "results.json") for folder in (first, second))
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].figures == two[name].figures
            assert one[name].protocol == two[name].protocol


@pytest.fixture(scope="module", params=[Training, Adaptation, Evaluation], ids=lambda t: t.__name__)
def whole(request, tmp_path_factory):
    """A task, its folder when nothing comes between, and the number of files that it writes."""
    folder = tmp_path_factory.mktemp("whole")
    task, notes = request.param(folder), folder / "writes"
    argv = task.argv(folder / "whole")
    assert runs.run_in_process(argv, folder / "log", FAKES, (runs.note_writes, notes)) == 0
    return task, folder / "whole", len(notes.read_text().splitlines())


@pytest.mark.parametrize("kind", ["kill", "full disk"])
def test_a_run_that_is_stopped_at_any_file_ends_like_one_that_was_not(whole, kind, tmp_path):
    task, wanted, writes = whole
    assert writes >= 4
    for number in range(1, writes + 1):
        folder, log = tmp_path / str(number), tmp_path / f"{number}.log"
        fault = (runs.fault_at_write, number, kind)
        code = runs.run_in_process(task.argv(folder), log, FAKES, fault)
        text = log.read_text()
        if kind == "kill":
            assert code == -signal.SIGKILL, text
        elif code:  # a cache does without
            assert code == 1 and ": expected " in text.rstrip().splitlines()[-1], text
            assert "Traceback" not in text, text
        code = runs.run_in_process(task.argv(folder, resume=True), log, FAKES)
        assert code == 0, log.read_text()
        task.same(folder, wanted)
        assert not list(folder.rglob(".*.tmp*")), number
