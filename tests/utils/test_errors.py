"""Which errors end a run in one line."""

import pytest

from stseg.utils.errors import explanation


@pytest.mark.parametrize(
    "error",
    [
        ValueError("SELF_TRAINING.ROUNDS: expected at least 0, got -1."),
        KeyError("MODEL.SAM.NAM: expected a known key, got one that is not. Nearest: NAME."),
        FileNotFoundError(2, "--images: expected a folder, got 'x'."),
    ],
)
def test_an_error_of_a_check_is_its_own_explanation(error):
    assert explanation(error) == error.args[-1]


def test_a_fault_of_the_program_has_no_explanation():
    with pytest.raises(ValueError) as caught:
        _a, _b, _c = (1, 2)
    assert "expected 3" in str(caught.value)
    assert explanation(caught.value) == ""
    assert explanation(RuntimeError("x: expected y, got z.")) == ""
    assert explanation(ValueError()) == ""
