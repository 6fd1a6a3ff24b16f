import numpy as np

from stseg.small_world import CLASS_NAMES, render
from stseg.tools import GOOD, WRONG
from stseg.tools.doctor import SmokeScene
from stseg.tools.doctor.smoke_run import check_run
from stseg.weights import find


def test_a_scene_is_segmented_and_a_device_that_fails_is_a_finding():
    scene = render(4_000_000, 0)
    config = find("stseg-mini").config_file()
    smoke = SmokeScene(scene.image, scene.label_map, CLASS_NAMES, config)
    good, wrong = check_run(smoke, ["cpu", "no such device"])
    assert good.status == GOOD and "of the pixels are right" in good.text
    assert wrong.status == WRONG and wrong.text.startswith("on no such device: ")


def test_answers_that_differ_and_answers_that_are_wrong_are_told(monkeypatch):
    right = np.zeros((4, 4), int)
    smoke = SmokeScene(np.zeros((4, 4, 3), np.uint8), right, ["a", "b"], "none")
    answers = {"cpu": right, "gpu": np.eye(4, dtype=int)}
    monkeypatch.setattr(
        "stseg.tools.doctor.smoke_run._segment", lambda _, device: (answers[device], 0.1)
    )
    seen = list(check_run(smoke, ["cpu", "gpu"]))
    assert [one.status for one in seen] == [GOOD, GOOD, WRONG]
    assert "75.00% of the pixels the same" in seen[-1].text
    answers["cpu"] = np.ones((4, 4), int)
    assert [one.status for one in check_run(smoke, ["cpu"])] == [WRONG]
    answers.clear()
    assert [one.text for one in check_run(smoke, ["cpu"])] == ["on cpu: KeyError: 'cpu'"]
