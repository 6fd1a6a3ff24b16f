import numpy as np
import pytest

from stseg.evaluation.open_vocab import check_similarity
from stseg.tools.name_similarity import main

CONFIG = "configs/mini/small_world.yaml"


def test_names_alike_are_near_and_half_of_the_pairs_get_no_credit(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "new" / "near.npy"
    names = "cat; kitten, cat cub; sky; brick; robot"
    flags = ["--config-file", CONFIG, "--names", names, "--output", str(path)]
    assert main([*flags, "MODEL.TEXT.CACHE_DIR", ""]) == 0
    near = np.load(path)
    check_similarity(near, 5)
    assert near[0, 1] == near[~np.eye(5, dtype=bool)].max() > 0.2
    assert (near > 0).sum() - 5 == 10
    assert "cat, kitten" in caplog.text


def test_a_floor_of_ones_own_is_kept_and_a_bad_one_refused(tmp_path):
    flags = ["--config-file", CONFIG, "--names", "cat; sky", "--output", str(tmp_path / "a.npy")]
    more = ["MODEL.TEXT.CACHE_DIR", ""]
    assert main([*flags, "--floor", "0", *more]) == 0
    assert np.load(tmp_path / "a.npy")[0, 1] > 0
    with pytest.raises(ValueError, match=r"floor: expected a cosine in \[0, 1\), got 1.5"):
        main([*flags, "--floor", "1.5", *more])
