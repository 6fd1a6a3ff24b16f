from stseg.tools import NOTE, WRONG, Observation, observation_text, observations_text

CUT = Observation(WRONG, "cut", "'a' is cut", "Shorten it.")


def test_columns_are_aligned_and_the_cure_stands_in_the_next_line():
    first, second = observation_text(CUT).splitlines()
    other = observation_text(Observation(NOTE, "segment_anything", "imports"))
    assert first.index("'a'") == second.index("->") == other.index("imports")
    assert first.startswith("WRONG") and second.endswith("Shorten it.")


def test_a_cure_that_several_share_is_told_once_behind_the_last():
    text = observations_text([CUT, CUT, Observation(NOTE, "near", "b", "Merge."), CUT])
    assert [line.split()[-1] for line in text.splitlines()] == [
        "cut", "cut", "it.", "b", "Merge.", "cut", "it."]  # fmt: skip
    assert observations_text([]) == ""
