import pytest
import torch
from torch import nn

from stseg.checkpoint import Checkpointer, load_for_evaluation, read_checkpoint


class Half(nn.Module):
    """A small part that trains, and a large one that does not."""

    def __init__(self):
        super().__init__()
        self.head, self.tower = nn.Linear(3, 2), nn.Linear(1024, 512)
        self.tower.requires_grad_(False)


@pytest.fixture
def saved(tmp_path):
    """Two checkpoints on the way of a run, and a final one."""
    torch.manual_seed(0)
    model = Half()
    checkpointer = Checkpointer(model, str(tmp_path))
    for iteration in (1, 2):
        nn.init.constant_(model.head.weight, iteration)
        checkpointer.save(f"model_{iteration:07d}", shared=True, iteration=iteration)
    checkpointer.save("model_final", iteration=2)
    return tmp_path, model


def test_what_never_changes_is_written_once_and_read_with_every_checkpoint(saved):
    folder, model = saved
    frozen = list(folder.glob("model_frozen_*.pth"))
    assert len(frozen) == 1 and frozen[0].stat().st_size > 2**21
    for iteration in (1, 2):
        path = folder / f"model_{iteration:07d}.pth"
        assert path.stat().st_size < 10_000
        state = read_checkpoint(str(path))["model"]
        assert torch.equal(state["tower.weight"], model.tower.weight)
        assert (state["head.weight"] == iteration).all()
        assert set(state) == set(model.state_dict())


def test_the_final_one_is_whole(saved, tmp_path_factory):
    folder, model = saved
    alone = tmp_path_factory.mktemp("alone") / "model_final.pth"
    (folder / "model_final.pth").rename(alone)
    other = Half()
    load_for_evaluation(other, str(alone))
    assert torch.equal(other.tower.weight, model.tower.weight)


def test_a_run_is_resumed_from_a_shared_one(saved):
    folder, model = saved
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    other = Half()
    content = Checkpointer(other, str(folder)).resume_or_load("", resume=True)
    assert content["iteration"] == 1 and torch.equal(other.tower.weight, model.tower.weight)


def test_one_whose_frozen_parts_are_gone_says_so(saved):
    folder, _ = saved
    for path in folder.glob("model_frozen_*.pth"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="expected the frozen parts of its model beside it"):
        read_checkpoint(str(folder / "model_0000001.pth"))


def test_other_frozen_values_get_a_file_of_their_own(saved):
    folder, model = saved
    model.tower.weight.data += 1
    Checkpointer(model, str(folder)).save("model_0000003", shared=True)
    assert len(list(folder.glob("model_frozen_*.pth"))) == 2


def test_a_name_in_a_file_leads_nowhere_else(saved):
    folder, _ = saved
    path = folder / "model_0000001.pth"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "frozen": "../../etc/passwd"}, path)
    with pytest.raises(FileNotFoundError, match="in passwd"):
        read_checkpoint(str(path))


def test_a_small_model_is_not_split(tmp_path):
    model = nn.Linear(3, 2).requires_grad_(False)
    Checkpointer(model, str(tmp_path)).save("model_0000001", shared=True)
    assert [p.name for p in tmp_path.glob("*.pth")] == ["model_0000001.pth"]
